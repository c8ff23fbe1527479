package conf

// key names one value: a parameter of the table and, for families, its index; noIndex stands for the index-free form.
type key struct {
	name  string
	index int
}

const noIndex = -1

// assignment is what a file said about a key.
type assignment struct {
	key
	text string
	file string
	line int
}

// assignments holds the last assignment of each key.
type assignments map[key]assignment
