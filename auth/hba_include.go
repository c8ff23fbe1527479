package auth

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

var (
	errHBANesting  = errors.New("it includes itself, or files are nested too deeply")
	errHBAMaxDepth = errors.New("maximum nesting depth exceeded")
)

// beside is the path of a file that another one names.
func beside(file, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(filepath.Dir(file), name)
}

// read reads a file that the last of the chain names.
func (r *hbaReader) read(chain []string, path string, tooDeep error) ([]byte, error) {
	if len(chain) > maxHBAIncludes || slices.Contains(chain, path) {
		return nil, tooDeep
	}
	return r.files.Read(path)
}

// tokensOf gives all tokens of the file behind an @. Directives mean nothing there.
func (r *hbaReader) tokensOf(chain []string, number int, name string) []Token {
	file := chain[len(chain)-1]
	path := beside(file, name[1:])
	data, err := r.read(chain, path, errHBANesting)
	if err != nil {
		r.fail(file, number, `could not open secondary authentication file "`+name+`" as "`+path+`": `+err.Error())
		return nil
	}
	var tokens []Token
	r.lines(append(slices.Clone(chain), path), data, func(line hbaLine) {
		for _, field := range line.fields {
			tokens = append(tokens, field...)
		}
	})
	return tokens
}

// records cuts a file into lines as lines does, with those of the files it includes in their place.
func (r *hbaReader) records(chain []string, data []byte, each func(hbaLine)) {
	r.lines(chain, data, func(line hbaLine) {
		directive, name, ok := line.directive()
		switch {
		case !ok:
			each(line)
		case name == "":
			r.fail(line.file, line.number, "empty file or directory name in "+directive)
		case directive == "include_dir":
			r.includeDir(chain, line, name, each)
		default:
			r.include(chain, line, beside(line.file, name), directive == "include_if_exists", each)
		}
	})
}

// directive is what a line of two words asks to include.
func (l *hbaLine) directive() (directive, name string, ok bool) {
	if len(l.fields) != 2 || len(l.fields[0]) != 1 || len(l.fields[1]) != 1 {
		return "", "", false
	}
	switch directive = l.fields[0][0].Text; directive {
	case "include", "include_if_exists", "include_dir":
		return directive, l.fields[1][0].Text, true
	}
	return "", "", false
}

func (r *hbaReader) include(chain []string, line hbaLine, path string, missingOK bool, each func(hbaLine)) {
	data, err := r.read(chain, path, errHBAMaxDepth)
	switch {
	case err == nil:
		r.records(append(slices.Clone(chain), path), data, each)
	case !missingOK || !errors.Is(err, fs.ErrNotExist):
		r.fail(line.file, line.number, `could not open file "`+path+`": `+err.Error())
	}
}

// includeDir takes the files of a directory that end in .conf and do not begin with a dot, by name in the order of bytes.
func (r *hbaReader) includeDir(chain []string, line hbaLine, name string, each func(hbaLine)) {
	dir := beside(line.file, name)
	names, err := r.files.List(dir)
	if err != nil {
		r.fail(line.file, line.number, `could not open directory "`+dir+`": `+err.Error())
		return
	}
	names = slices.Clone(names)
	slices.Sort(names)
	for _, n := range names {
		if strings.HasSuffix(n, ".conf") && !strings.HasPrefix(n, ".") {
			r.include(chain, line, filepath.Join(dir, n), false, each)
		}
	}
}
