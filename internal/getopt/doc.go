// Package getopt reads command lines as getopt_long does, which is what users of Pgpool-II's programs, and their scripts, know.
//
// It owns the forms of options and the texts of errors. Which options there are, and what is right for their values, is left to
// the flag set of the program.
package getopt
