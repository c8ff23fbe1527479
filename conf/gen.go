//go:build ignore

// This program writes the documents that are made from the parameter table. Run it with go generate.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"gopgpool/conf"
)

func main() {
	for name, write := range map[string]func(io.Writer) error{
		"../pgpool.conf.sample": conf.WriteSample,
		"../docs/parameters.md": conf.WriteReference,
	} {
		var b bytes.Buffer
		err := write(&b)
		if err == nil {
			err = os.WriteFile(name, b.Bytes(), 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
