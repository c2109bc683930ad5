// Package segment packs the hot fields of consecutive events of a session as columns. It
// knows neither where segments are stored nor when they are built.
package segment
