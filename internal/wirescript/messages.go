package wirescript

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// messages are the steps that send one message: each appends it to dst.
func messages() map[string]func(dst []byte, rest string) ([]byte, error) {
	plain := func(m pgproto3.FrontendMessage) func([]byte, string) ([]byte, error) {
		return func(dst []byte, _ string) ([]byte, error) { return m.Encode(dst) }
	}
	return map[string]func([]byte, string) ([]byte, error){
		"query":     func(dst []byte, sql string) ([]byte, error) { return (&pgproto3.Query{String: sql}).Encode(dst) },
		"parse":     appendParse,
		"bind":      appendBind,
		"describe":  appendDescribe,
		"execute":   appendExecute,
		"close":     appendClose,
		"call":      appendCall,
		"copydata":  appendCopyData,
		"copyfail":  appendCopyFail,
		"message":   appendMessage,
		"raw":       appendRaw,
		"copydone":  plain(&pgproto3.CopyDone{}),
		"sync":      plain(&pgproto3.Sync{}),
		"flush":     plain(&pgproto3.Flush{}),
		"terminate": plain(&pgproto3.Terminate{}),
	}
}

var errArguments = errors.New("wrong arguments")

func appendParse(dst []byte, rest string) ([]byte, error) {
	name, sql, _ := strings.Cut(rest, " ")
	m := &pgproto3.Parse{Query: strings.TrimSpace(sql)}
	name, types, typed := strings.Cut(name, "(")
	m.Name = object(name)
	if typed {
		for word := range strings.SplitSeq(strings.TrimSuffix(types, ")"), ",") {
			oid, err := typeOID(word)
			if err != nil {
				return nil, err
			}
			m.ParameterOIDs = append(m.ParameterOIDs, oid)
		}
	}
	return m.Encode(dst)
}

func typeOID(word string) (uint32, error) {
	for oid, name := range typeNames() {
		if name == word {
			return oid, nil
		}
	}
	n, err := strconv.ParseUint(word, 10, 32)
	return uint32(n), err
}

// typeNames are the types that occur in scripts; others show their number.
func typeNames() map[uint32]string {
	return map[uint32]string{
		16: "bool", 17: "bytea", 19: "name", 20: "int8", 21: "int2", 23: "int4", 25: "text", 26: "oid", 114: "json", 701: "float8",
		1043: "varchar", 1184: "timestamptz", 1700: "numeric", 2278: "void", 705: "unknown", 1007: "int4[]", 2206: "regtype",
	}
}

func appendBind(dst []byte, rest string) ([]byte, error) {
	fields := strings.SplitN(rest, " ", 3)
	if len(fields) < 2 {
		return nil, errArguments
	}
	m := &pgproto3.Bind{DestinationPortal: object(fields[0]), PreparedStatement: object(fields[1])}
	if len(fields) == 3 {
		list, formats, err := values(fields[2])
		if err != nil {
			return nil, err
		}
		for _, v := range list {
			m.Parameters = append(m.Parameters, v.bytes)
			m.ParameterFormatCodes = append(m.ParameterFormatCodes, format(v.binary))
		}
		m.ResultFormatCodes = formats
	}
	return m.Encode(dst)
}

func format(binary bool) int16 {
	if binary {
		return 1
	}
	return 0
}

// kindAndName reads the arguments of Describe and Close.
func kindAndName(rest string) (byte, string, error) {
	kind, name, _ := strings.Cut(rest, " ")
	if len(kind) != 1 || name == "" {
		return 0, "", errArguments
	}
	return kind[0], object(name), nil
}

func appendDescribe(dst []byte, rest string) ([]byte, error) {
	kind, name, err := kindAndName(rest)
	if err != nil {
		return nil, err
	}
	return (&pgproto3.Describe{ObjectType: kind, Name: name}).Encode(dst)
}

func appendClose(dst []byte, rest string) ([]byte, error) {
	kind, name, err := kindAndName(rest)
	if err != nil {
		return nil, err
	}
	return (&pgproto3.Close{ObjectType: kind, Name: name}).Encode(dst)
}

func appendExecute(dst []byte, rest string) ([]byte, error) {
	name, limit, limited := strings.Cut(rest, " ")
	m := &pgproto3.Execute{Portal: object(name)}
	if limited {
		n, err := strconv.ParseUint(limit, 10, 32)
		if err != nil {
			return nil, err
		}
		m.MaxRows = uint32(n)
	}
	return m.Encode(dst)
}

func appendCall(dst []byte, rest string) ([]byte, error) {
	oid, args, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(oid, 10, 32)
	if err != nil {
		return nil, err
	}
	list, formats, err := values(args)
	if err != nil {
		return nil, err
	}
	m := &pgproto3.FunctionCall{Function: uint32(n)}
	for _, v := range list {
		m.Arguments = append(m.Arguments, v.bytes)
		m.ArgFormatCodes = append(m.ArgFormatCodes, uint16(format(v.binary)))
	}
	if len(formats) > 0 {
		m.ResultFormatCode = uint16(formats[0])
	}
	return m.Encode(dst)
}

func appendCopyData(dst []byte, rest string) ([]byte, error) {
	text, err := strconv.Unquote(rest)
	if err != nil {
		return nil, fmt.Errorf("%.40s: %w", rest, err)
	}
	return (&pgproto3.CopyData{Data: []byte(text)}).Encode(dst)
}

func appendCopyFail(dst []byte, rest string) ([]byte, error) {
	text, err := strconv.Unquote(rest)
	if err != nil {
		return nil, err
	}
	return (&pgproto3.CopyFail{Message: text}).Encode(dst)
}

func appendMessage(dst []byte, rest string) ([]byte, error) {
	kind, quoted, _ := strings.Cut(rest, " ")
	body, err := strconv.Unquote(quoted)
	if err != nil || len(kind) != 1 {
		return nil, errArguments
	}
	dst = append(dst, kind[0])
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)+4))
	return append(dst, body...), nil
}

func appendRaw(dst []byte, rest string) ([]byte, error) {
	text, err := strconv.Unquote(rest)
	return append(dst, text...), err
}
