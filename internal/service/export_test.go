package service

import "context"

// MakeSegments makes all segments that can be made now.
func (a *Analysis) MakeSegments(ctx context.Context) error {
	return a.makeSegments(ctx, map[string]int64{})
}
