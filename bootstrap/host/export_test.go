package host

// Tick runs one round of the gate's watch.
func (g *Gate) Tick() { g.tick() }
