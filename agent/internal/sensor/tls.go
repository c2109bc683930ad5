//go:build linux

package sensor

type tlsProbes struct{}
