package bench

import "slices"

// Rows is the table, in the order in which it is told. A row has a file of its own.
var Rows = []Row{
	room800all,
	room2000,
	idle2000,
	connMemory,
	tick100k,
	gcLateness,
	interest10k,
	interest100k,
	journal,
	plan,
	siege,
	shard5000,
	crossing,
	split400,
	start,
	scale,
}

// Find returns the row of that name, those beside the table included.
func Find(name string) (Row, bool) {
	if name == beside.Name {
		return beside, true
	}
	i := slices.IndexFunc(Rows, func(r Row) bool { return r.Name == name })
	if i < 0 {
		return Row{}, false
	}
	return Rows[i], true
}

// Names returns those of all rows.
func Names() (names []string) {
	for _, r := range Rows {
		names = append(names, r.Name)
	}
	return names
}
