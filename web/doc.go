// Package web answers health checks and serves metrics over HTTP. What it tells is gathered by others.
package web
