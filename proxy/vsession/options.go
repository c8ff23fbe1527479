package vsession

import "strings"

// ReadOptions reads the startup parameter "options": the command-line arguments -c name=value and --name=value (manual: libpq, options).
// ok is false if there is anything else in it, or something malformed.
func ReadOptions(text string) (settings []Startup, ok bool) {
	words := splitOptions(text)
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "-c" && i+1 < len(words):
			i++
			w = words[i]
		case strings.HasPrefix(w, "-c") && len(w) > 2:
			w = w[2:]
		case strings.HasPrefix(w, "--") && len(w) > 2:
			w = w[2:]
		default:
			return nil, false
		}
		name, value, found := strings.Cut(w, "=")
		if !found || name == "" {
			return nil, false
		}
		settings = append(settings, Startup{strings.ReplaceAll(name, "-", "_"), value})
	}
	return settings, true
}

// splitOptions splits at white space; a backslash takes away the meaning of the character behind it.
func splitOptions(text string) (words []string) {
	var word strings.Builder
	inWord := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		if strings.IndexByte(" \t\n\v\f\r", c) >= 0 {
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
			continue
		}
		inWord = true
		if c == '\\' {
			if i++; i == len(text) {
				break
			}
			c = text[i]
		}
		word.WriteByte(c)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}
