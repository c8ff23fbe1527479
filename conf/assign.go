package conf

import (
	"cmp"
	"maps"
	"slices"
)

// key names one value: a parameter of the table and, for families, its index; noIndex stands for the index-free form.
type key struct {
	name  string
	index int
}

const noIndex = -1

// assignment is what a file said about a key.
type assignment struct {
	key
	text   string
	file   string
	line   int
	mapped bool // from the name of an older release
}

// assignments holds the last assignment of each key.
type assignments map[key]assignment

// inOrder sorts them by name and index.
func (a assignments) inOrder() []assignment {
	return slices.SortedFunc(maps.Values(a), func(x, y assignment) int {
		return cmp.Or(cmp.Compare(x.name, y.name), cmp.Compare(x.index, y.index))
	})
}
