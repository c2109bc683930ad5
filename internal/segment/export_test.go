package segment

import (
	"slices"

	"ospulse/internal/models"
)

// AppendBlock returns the head of a block before compression, and its frames.
func AppendBlock(events []models.Event) (head, frames []byte) {
	encoder, _ := blockPacker()
	b := NewPacker().buildBlock(events, encoder)
	return b.head, slices.Clip(b.frames)
}

// ReadBlock reads the result of AppendBlock.
func ReadBlock(head, frames []byte, hot *Columns) (*Block, error) {
	return readBlock(head, frames, hot, 0, newMemory())
}

// SetFrameBytes sets the size from which a column is a frame of its own.
func (p *Packer) SetFrameBytes(n int) { p.frameBytes = n }
