package conf

import (
	"fmt"
	"strconv"
	"strings"
)

// resolve finds the parameter a name stands for, with its index. A name that is no parameter yields a nil row without an
// error. The forms allowed without an index are those with a value of their own.
func resolve(name string) (*Param, int, *valueError) {
	p, index, err := lookUp(name)
	if err != nil || p == nil {
		return nil, noIndex, err
	}
	if p.Family == NotNumbered {
		return p, noIndex, nil
	}
	if index == noIndex && !p.Family.inherits() {
		return nil, noIndex, &valueError{text: fmt.Sprintf("parameter %q expects the index value", name)}
	}
	if index > p.Family.maxIndex() {
		return nil, noIndex, &valueError{text: fmt.Sprintf("%s index outside the valid range for parameter %q (0 .. %d)",
			name[len(p.Name):], name, p.Family.maxIndex())}
	}
	return p, index, nil
}

// lookUp splits a name into row and index without judging the index. A numbered name with something else than digits is an
// error, however unknown the name.
func lookUp(name string) (*Param, int, *valueError) {
	t := params()
	if p, ok := t.byName[name]; ok {
		return p, noIndex, nil
	}
	for i := range t.rows {
		p := &t.rows[i]
		rest, ok := strings.CutPrefix(name, p.Name)
		if p.Family == NotNumbered || !ok {
			continue
		}
		if strings.Trim(rest, "0123456789") != "" {
			return nil, noIndex, &valueError{
				text:   fmt.Sprintf("invalid index value for parameter %q ", name),
				detail: "index part contains the invalid non digit character",
			}
		}
		index, err := strconv.Atoi(rest)
		if err != nil {
			index = p.Family.maxIndex() + 1
		}
		return p, index, nil
	}
	return nil, noIndex, nil
}

// nearest returns the parameter whose name is most like the given one, "" if none is like it.
func nearest(name string) string {
	const longest = 64
	if len(name) > longest {
		return ""
	}
	lower := strings.ToLower(name)
	best, distance := "", len(name)/3+2
	for i := range params().rows {
		row := &params().rows[i]
		if d := editDistance(lower, strings.ToLower(row.Name), distance); d < distance {
			best, distance = row.Name, d
			if row.Family != NotNumbered {
				best += strings.TrimLeft(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
			}
		}
	}
	return best
}

// editDistance counts the insertions, deletions and replacements that make a into b, up to a limit.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
