package wirescript

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Script is a script that was read.
type Script struct {
	// Name is the file's.
	Name string
	// Setup is SQL to run on the primary beforehand, one text a setup step.
	Setup []string
	// Allow are the names of optional differences it permits.
	Allow []string

	steps []step
}

// step is one line.
type step struct {
	line int
	conn string
	verb string
	rest string
}

var connPrefix = regexp.MustCompile(`^([a-z][a-z0-9]*): +`)

// Parse reads a script. Arguments are looked at when the step runs, unknown verbs are refused here.
func Parse(name, text string) (*Script, error) {
	s := &Script{Name: name}
	for _, l := range joinLines(text) {
		st := step{line: l.number, conn: "a", rest: l.text}
		if m := connPrefix.FindStringSubmatch(l.text); m != nil {
			st.conn, st.rest = m[1], l.text[len(m[0]):]
		}
		st.verb, st.rest, _ = strings.Cut(st.rest, " ")
		st.rest = strings.TrimSpace(st.rest)
		switch {
		case st.verb == "setup" && len(s.steps) > 0:
			return nil, fmt.Errorf("%s:%d: setup comes first", name, l.number)
		case st.verb == "setup":
			s.Setup = append(s.Setup, st.rest)
		case st.verb == "allow":
			if !slices.ContainsFunc(Differences(), func(d Difference) bool { return d.Optional && d.Name == st.rest }) {
				return nil, fmt.Errorf("%s:%d: no optional difference %q", name, l.number, st.rest)
			}
			s.Allow = append(s.Allow, st.rest)
		case !known(st.verb):
			return nil, fmt.Errorf("%s:%d: unknown step %q", name, l.number, st.verb)
		default:
			s.steps = append(s.steps, st)
		}
	}
	if len(s.steps) == 0 {
		return nil, fmt.Errorf("%s: nothing to do", name)
	}
	return s, nil
}

func known(verb string) bool {
	if _, ok := actions()[verb]; ok {
		return true
	}
	_, ok := messages()[verb]
	return ok
}

type numbered struct {
	number int
	text   string
}

// joinLines drops comments and empty lines and joins continuations.
func joinLines(text string) []numbered {
	var out []numbered
	n := 0
	for raw := range strings.SplitSeq(text, "\n") {
		n++
		line := strings.TrimRight(raw, " \t\r")
		switch {
		case line == "" || line[0] == '#':
		case (line[0] == ' ' || line[0] == '\t') && len(out) > 0:
			out[len(out)-1].text += "\n" + strings.TrimSpace(line)
		default:
			out = append(out, numbered{n, strings.TrimSpace(line)})
		}
	}
	return out
}

var repetition = regexp.MustCompile(`\{([^{}*]+)\*(\d+)\}`)

// expand replaces {x*1000}.
func expand(text string) string {
	return repetition.ReplaceAllStringFunc(text, func(m string) string {
		parts := repetition.FindStringSubmatch(m)
		n, err := strconv.Atoi(parts[2])
		if err != nil || n*len(parts[1]) > maxRepeated {
			return m
		}
		return strings.Repeat(parts[1], n)
	})
}

// maxRepeated bounds what a script can ask for in one repetition.
const maxRepeated = 64 << 20

// value is a parameter of Bind or FunctionCall.
type value struct {
	bytes  []byte // nil: NULL
	binary bool
}

// values reads a list of values; what follows -> is returned apart.
func values(text string) (list []value, formats []int16, err error) {
	words, err := words(text)
	if err != nil {
		return nil, nil, err
	}
	for i, w := range words {
		switch {
		case w == "->":
			for _, f := range words[i+1:] {
				n, err := strconv.ParseInt(f, 10, 16)
				if err != nil {
					return nil, nil, err
				}
				formats = append(formats, int16(n))
			}
			return list, formats, nil
		case w == "NULL":
			list = append(list, value{})
		case strings.HasPrefix(w, "x'"):
			b, err := hex.DecodeString(strings.Trim(w[1:], "'"))
			if err != nil {
				return nil, nil, err
			}
			list = append(list, value{b, true})
		default:
			list = append(list, value{bytes: []byte(bare(w))})
		}
	}
	return list, nil, nil
}

// words splits at blanks outside '...' and "...", which stay in the words.
func words(text string) ([]string, error) {
	var out []string
	for text = strings.TrimLeft(text, " \n"); text != ""; text = strings.TrimLeft(text, " \n") {
		end, quote := 0, byte(0)
		for ; end < len(text); end++ {
			c := text[end]
			switch {
			case quote != 0:
				if c == quote {
					quote = 0
				}
			case c == '\'' || c == '"':
				quote = c
			}
			if quote == 0 && (c == ' ' || c == '\n') {
				break
			}
		}
		if quote != 0 {
			return nil, fmt.Errorf("a %c is left open", quote)
		}
		out = append(out, text[:end])
		text = text[end:]
	}
	return out, nil
}

// object reads a name; - is the unnamed one.
func object(name string) string {
	if name == "-" {
		return ""
	}
	return name
}

// bare takes the quotation marks off a word.
func bare(word string) string {
	if n := len(word); n >= 2 && word[0] == word[n-1] && (word[0] == '\'' || word[0] == '"') {
		return word[1 : n-1]
	}
	return word
}
