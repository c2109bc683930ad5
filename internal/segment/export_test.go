package segment

import "ospulse/internal/models"

// AppendBlock returns a block before compression.
func AppendBlock(events []models.Event) []byte { return appendBlock(nil, events, newWords()) }

// ReadBlock reads the result of AppendBlock.
func ReadBlock(plain []byte, hot *Columns) (*Block, error) { return readBlock(plain, hot, 0) }
