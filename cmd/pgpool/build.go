package main

import (
	"context"

	"gopgpool/conf"
	"gopgpool/logging"
)

// build makes the parts of the daemon and joins them.
func build(_ Options, _ *conf.Config, out *logging.Output) (*daemon, error) {
	return &daemon{
		log:   out.Logger(),
		parts: []part{{name: "idle", run: func(ctx context.Context) error { <-ctx.Done(); return nil }}},
	}, nil
}
