package main

import "strings"

// row is a call, with the reason why ours does not end as Pgpool-II's does.
type row struct {
	call
	differs string
	local   bool // depends on the machine's user
}

const existing = "a:1\nbob:SCRAM-SHA-256$4096:a$b:c\nbob:2\nx\\:y:TEXTa\\:b:more\r\n"

const (
	longerPasswords = "passwords of up to 2048 bytes"
	promptedKey     = "theirs forgets the key that was typed"
	parameterCounts = "theirs does not look at the parameter pool_passwd"
	lastLineEnds    = "theirs glues the entry to a last line without its end"
	quoted          = "theirs writes a colon in a name as it is, and reads another name then"
	keyRefused      = "theirs warns and takes the key"
	keyOtherText    = "the same refusal, without the number of the process"
	keyTooLong      = "theirs takes 256 bytes, of which pgpool reads 255 in a key file"
	carriageReturn  = "theirs makes the carriage return a part of the password"
	configRefused   = "theirs passes over parameters that are wrong"
	lineTooLong     = "theirs takes the rest of a long line for another one"
	nameTooLong     = "theirs cuts the name"
	notAFile        = "theirs takes a directory for an empty file"
)

func words(line string) []string { return strings.Fields(line) }

// calls are the command lines that are compared.
func calls() []row {
	long := func(n int) string { return strings.Repeat("ab", n/2) + strings.Repeat("c", n%2) }
	typed := func(pairs ...string) (answers []answer) {
		for i := 0; i < len(pairs); i += 2 {
			answers = append(answers, answer{pairs[i], pairs[i+1]})
		}
		return answers
	}
	line := func(text string, more ...string) row { return row{call: call{args: append(words(text), more...)}} }
	ask := func(text string, pairs ...string) row {
		return row{call: call{args: words(text), typed: typed(pairs...)}}
	}
	over := func(passwd, text string) row { return row{call: call{args: words(text), passwd: passwd}} }
	with := func(env, text string) row { return row{call: call{args: words(text), env: []string{env}}} }
	but := func(r row, reason string) row { r.differs = reason; return r }
	here := func(r row) row { r.local = true; return r }
	const password, dbPassword, key = "password: ", "db password: ", "encryption key: "
	return []row{
		line("pg_enc --help"), line("pg_enc -h"), line("pg_enc --he"), line("pg_enc -Z"), line("pg_enc --nope"), line("pg_enc -k"),
		line("pg_enc --key-file"), line("pg_enc --pro"), line("pg_enc --prompt=1"), line("pg_enc -V"), line("pg_enc --version"),
		line("pg_enc -hZ"), line("pg_enc -Zh"), line("pg_enc -h -K"), line("pg_enc -u"),
		line("pg_enc"), line("pg_enc foo"), line("pg_enc -p -K x"), line("pg_enc -P foo"),
		line("pg_enc -K mysecretkey foo"), line("pg_enc -Kmysecretkey foo bar"), line("pg_enc foo bar --enc-key=mysecretkey"),
		line("pg_enc -K x", ""), line("pg_enc -K x -- -foo"), line("pg_enc -K x -"), line("pg_enc -K", "", "foo"),
		line("pg_enc -K schlüssel pässwörd"), line("pg_enc -K x", "a\nb"), line("pg_enc -K x", "\xff\xfe"),
		line("pg_enc -k key foo"), line("pg_enc --key-file=key foo"), line("pg_enc -k nokey foo"), line("pg_enc -k key.long foo"),
		line("pg_enc -k key.255 foo"), line("pg_enc -k key.cr foo"), line("pg_enc -k key.blank foo"), line("pg_enc -k key.empty foo"),
		line("pg_enc -k key.öäü ßß"), line("pg_enc -K zzz -k key foo"), line("pg_enc -K", "", "-k", "key", "foo"),
		with("PGPOOLKEYFILE=key", "pg_enc foo"), with("PGPOOLKEYFILE=key.cr", "pg_enc -k key foo"),
		here(line("pg_enc -K x -m -f pgpool.conf secret")), here(line("pg_enc -K x -m -f pgpool.conf -u", "", "secret")),
		here(line("pg_enc -K x -m -f pgpool.conf -i in.nouser")),
		but(line("pg_enc -k key.open foo"), keyRefused), but(line("pg_enc -k key.open -f insecure.conf foo"), keyOtherText),
		but(line("pg_enc -k key.open -m -f insecure.conf -u bob foo"), keyOtherText), but(line("pg_enc -k sub foo"), keyOtherText),
		but(line("pg_enc -K", long(256), "foo"), keyTooLong), line("pg_enc -K", long(255), "foo"),
		line("pg_enc -K x", long(79)), line("pg_enc -K x", long(80)), line("pg_enc -K x", long(128)),
		but(line("pg_enc -K x", long(129)), longerPasswords), but(line("pg_enc -K x", long(200)), longerPasswords),
		but(line("pg_enc -K x", long(maxPassword+1)), longerPasswords),
		line("pg_enc -K x -m -f pgpool.conf -u bob secret"), over(existing, "pg_enc -K x -m -f pgpool.conf -u bob secret"),
		over(existing, "pg_enc -K x -m -f pgpool.conf -u a secret"), over("a:1\n\n", "pg_enc -K x -m -f pgpool.conf -u b secret"),
		over("bob:", "pg_enc -K x -m -f pgpool.conf -u bob secret"), over("bob\n#bob:x\n", "pg_enc -K x -m -f pgpool.conf -u bob secret"),
		over("a:crlf\r\nb:x\r\n", "pg_enc -K x -m -f pgpool.conf -u a secret"),
		but(over("a:1", "pg_enc -K x -m -f pgpool.conf -u bob secret"), lastLineEnds),
		but(line("pg_enc -K x -m -f pgpool.conf -u a:b secret"), quoted), line("pg_enc -K x -m -f pgpool.conf -u é secret"),
		line("pg_enc -K x -m -f none.conf -u bob secret"), but(line("pg_enc -K x -m -f other.conf -u bob secret"), parameterCounts),
		but(line("pg_enc -K x -m -f off.conf -u bob secret"), parameterCounts),
		but(line("pg_enc -K x -m -f broken.conf -u bob secret"), configRefused),
		line("pg_enc -K x -m -f pgpool.conf -u", long(128), "secret"),
		but(line("pg_enc -K x -m -f pgpool.conf -u", long(129), "secret"), nameTooLong),
		line("pg_enc -K x -i in"), line("pg_enc -k key -i in"), line("pg_enc -K x -i in foo"), line("pg_enc -K x --input-file=in.noend"),
		line("pg_enc -K x -m -f pgpool.conf -i in"), over(existing, "pg_enc -K x -m -f pgpool.conf -i in.twice"),
		line("pg_enc -K x -i in.long"), but(line("pg_enc -K x -i in.longpw"), longerPasswords), line("pg_enc -K x -i in.empty"),
		but(line("pg_enc -K x -i in.toolong"), lineTooLong), but(line("pg_enc -K x -i in.cr"), carriageReturn),
		line("pg_enc -K x -i none"), line("pg_enc -K x -m -f pgpool.conf -i none"), line("pg_enc -i in"), line("pg_enc -k nokey -i in"),
		but(line("pg_enc -K x -i sub"), notAFile), line("pg_enc -K x -i in.nouser"),
		ask("pg_enc -K mysecretkey", dbPassword, "foo\n"), ask("pg_enc -p -K mysecretkey bar", dbPassword, "foo\n"),
		ask("pg_enc -K x", dbPassword, "\n"), ask("pg_enc -K x", dbPassword, "pässwörd\n"), ask("pg_enc -K x", dbPassword, "a b \n"),
		ask("pg_enc", dbPassword, "foo\n"), ask("pg_enc -K x -m -u bob -f pgpool.conf", dbPassword, "foo\n"),
		ask("pg_enc -p -K x -m -f none.conf", dbPassword, "foo\n"), ask("pg_enc -K x", dbPassword, long(127)+"\n"),
		but(ask("pg_enc -K x", dbPassword, long(200)+"\n"), longerPasswords),
		but(ask("pg_enc -p -P", dbPassword, "foo\n", key, "mysecretkey\n"), promptedKey),
		but(ask("pg_enc -P -K zz -k key foo", key, "mysecretkey\n"), promptedKey), ask("pg_enc -P foo", key, "\n"),
		but(ask("pg_enc -P -i in.noend", key, "x\n"), promptedKey), but(ask("pg_enc -P foo", key, long(256)+"\n"), keyTooLong),

		line("pg_md5 --help"), line("pg_md5 -h foo"), line("pg_md5 -Z"), line("pg_md5 --nope foo"), line("pg_md5 -u"), line("pg_md5 -K x"),
		line("pg_md5 --md5auth=1"), line("pg_md5"), line("pg_md5 -m"), line("pg_md5 -u x"), line("pg_md5 -m -f pgpool.conf -u x"),
		line("pg_md5 foo"), line("pg_md5 foo bar"), line("pg_md5", ""), line("pg_md5 -- -x"), line("pg_md5 pässwörd"), line("pg_md5 -p"),
		line("pg_md5", long(128)), but(line("pg_md5", long(129)), longerPasswords), line("pg_md5", long(maxPassword+1)),
		line("pg_md5 -m -u bob -f pgpool.conf secret"), over(existing, "pg_md5 --md5auth --username=bob --config-file=pgpool.conf secret"),
		over("a:1\n\nb:2\n", "pg_md5 -m -u b -f pgpool.conf é"), but(over("a:1", "pg_md5 -m -u b -f pgpool.conf x"), lastLineEnds),
		but(line("pg_md5 -m -u a:b -f pgpool.conf x"), quoted), here(line("pg_md5 -m -f pgpool.conf x")),
		line("pg_md5 -m -f none.conf -u bob x"), but(line("pg_md5 -m -f other.conf -u bob x"), parameterCounts),
		but(line("pg_md5 -m -f broken.conf -u bob x"), configRefused),
		line("pg_md5 -m -f pgpool.conf -u", long(129), "x"), line("pg_md5 -m -f pgpool.conf -u", long(128), "x"),
		line("pg_md5 -i in"), line("pg_md5 -m -f pgpool.conf -i in"), line("pg_md5 -i in.noend"), line("pg_md5 -i in.nouser"),
		line("pg_md5 -i in.long"), but(line("pg_md5 -i in.longpw"), longerPasswords), but(line("pg_md5 -i in.toolong"), lineTooLong),
		line("pg_md5 -i in.empty"), but(line("pg_md5 -i in.cr"), carriageReturn), line("pg_md5 -i none"), line("pg_md5 -m -f pgpool.conf -i none"),
		over(existing, "pg_md5 -m -f pgpool.conf -i in.twice"), but(line("pg_md5 -i sub"), notAFile), line("pg_md5 -p -i in"),
		ask("pg_md5 -p", password, "foo\n"), ask("pg_md5 -p", password, "\n"), ask("pg_md5 -p bar", password, "föö\n"),
		ask("pg_md5 -p -m -u bob -f pgpool.conf", password, "foo\n"), but(ask("pg_md5 -p", password, long(200)+"\n"), longerPasswords),
	}
}
