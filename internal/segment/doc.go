// Package segment packs consecutive events of a session. Columns hold their hot fields,
// one column after the other, and are read to count and to filter. A Block holds
// everything else of the same events. Together they return each event exactly, byte for
// byte.
//
// The package knows neither where segments are stored nor when events are packed.
package segment
