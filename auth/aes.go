package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1"
	"encoding/base64"
	"errors"
)

// Key is the pass phrase of pool_passwd's AES entries; the zero value is "no key". It prints as nothing.
type Key struct {
	phrase string
	known  bool
}

// NewKey makes a key of a pass phrase, which may be empty.
func NewKey(phrase string) Key { return Key{phrase: phrase, known: true} }

// Known reports whether there is a key.
func (k Key) Known() bool { return k.known }

func (Key) String() string { return "(key)" }

// GoString keeps the pass phrase out of %#v.
func (Key) GoString() string { return "auth.Key" }

// ErrDecrypt says that an AES entry and the key do not fit each other, or that there is no key.
var ErrDecrypt = errors.New("unable to decrypt password from pool_passwd")

// Encrypt gives what stands behind the prefix AES in pool_passwd: AES-256-CBC with PKCS#7 padding, base64. The same
// password and key always give the same text (manual: AES256 encryption). Without a key it is [ErrDecrypt].
func (k Key) Encrypt(password string) (string, error) {
	if !k.known {
		return "", ErrDecrypt
	}
	block, iv, err := k.cipher()
	if err != nil {
		return "", err
	}
	pad := aes.BlockSize - len(password)%aes.BlockSize
	data := make([]byte, len(password)+pad)
	copy(data, password)
	for i := len(password); i < len(data); i++ {
		data[i] = byte(pad)
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
	return base64.StdEncoding.EncodeToString(data), nil
}

// Decrypt is the inverse of [Key.Encrypt]; whatever is wrong, the error is [ErrDecrypt].
func (k Key) Decrypt(text string) (string, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !k.known || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return "", ErrDecrypt
	}
	block, iv, err := k.cipher()
	if err != nil {
		return "", err
	}
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(data, data)
	pad := int(data[len(data)-1])
	if pad == 0 || pad > aes.BlockSize {
		return "", ErrDecrypt
	}
	for _, b := range data[len(data)-pad:] {
		if int(b) != pad {
			return "", ErrDecrypt
		}
	}
	return string(data[:len(data)-pad]), nil
}

func (k Key) cipher() (cipher.Block, []byte, error) {
	key, iv := k.derive()
	block, err := aes.NewCipher(key)
	return block, iv, err
}

// derive is OpenSSL's EVP_BytesToKey with SHA-1, one round and no salt: the digests of all that came before and the
// pass phrase, one after another.
func (k Key) derive() (key, iv []byte) {
	const keyLength = 32
	var out, last []byte
	for len(out) < keyLength+aes.BlockSize {
		sum := sha1.Sum(append(last, k.phrase...))
		last = sum[:]
		out = append(out, last...)
	}
	return out[:keyLength], out[keyLength : keyLength+aes.BlockSize]
}
