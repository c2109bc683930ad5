package detect

// Size returns how many processes are kept.
func (p *Processes) Size() int { return len(p.byPID) + len(p.ended) }
