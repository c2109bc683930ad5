//go:build !linux

package database

import "net"

// peerPID returns 0: only agents on Linux use the pid.
func peerPID(net.Conn) int { return 0 }
