package main

import (
	"context"

	"gopgpool/logging"
)

// startLogWriter runs the writer of out and returns what ends it and waits for the last line.
func startLogWriter(out *logging.Output) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go runLogWriter(ctx, out, done)
	return func() error {
		cancel()
		return <-done
	}
}

func runLogWriter(ctx context.Context, out *logging.Output, done chan<- error) {
	done <- out.Run(ctx)
}
