package gateway

import "math/bits"

// What a client knows is kept in bits, one a slot, a page for each stretch of
// slots of which it knows any: a crowd in which everyone knows everyone takes
// half a byte a pair, and what changed is merged and told word by word.

// pageSlots is how many slots a page covers.
const pageSlots = 512

const pageWords = pageSlots / 64

// mask is a bit for each slot of a page.
type mask [pageWords]uint64

func (m *mask) has(slot uint32) bool { return m[slot%pageSlots/64]&(1<<(slot%64)) != 0 }
func (m *mask) set(slot uint32)      { m[slot%pageSlots/64] |= 1 << (slot % 64) }
func (m *mask) clear(slot uint32)    { m[slot%pageSlots/64] &^= 1 << (slot % 64) }

func (m *mask) empty() bool {
	all := uint64(0)
	for _, w := range m {
		all |= w
	}
	return all == 0
}

// each calls f for every slot of page number that is set.
func (m *mask) each(number uint32, f func(slot uint32)) {
	for i, w := range m {
		for ; w != 0; w &= w - 1 {
			f(number*pageSlots + uint32(i*64+bits.TrailingZeros64(w)))
		}
	}
}

// page is what a client knows of the slots from number times pageSlots on.
// Altered is within stale, which is within known.
type page struct {
	number  uint32
	known   mask
	stale   mask // changed since the client was last told of it
	altered mask // and not its place alone
}

// pages are ordered by number.
type pages []page

// find returns the page, or nil.
func (ps pages) find(number uint32) *page {
	if len(ps) <= 8 {
		for i := range ps {
			if ps[i].number == number {
				return &ps[i]
			}
		}
		return nil
	}
	lo, hi := 0, len(ps)
	for lo < hi {
		if m := (lo + hi) / 2; ps[m].number < number {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo < len(ps) && ps[lo].number == number {
		return &ps[lo]
	}
	return nil
}

// make returns the page, a new one if there is none.
func (ps *pages) make(number uint32) *page {
	if p := ps.find(number); p != nil {
		return p
	}
	at := len(*ps)
	*ps = append(*ps, page{})
	for ; at > 0 && (*ps)[at-1].number > number; at-- {
		(*ps)[at] = (*ps)[at-1]
	}
	(*ps)[at] = page{number: number}
	return &(*ps)[at]
}

// set is slots that many clients share, by page, ordered.
type set []numbered

type numbered struct {
	number uint32
	mask
}

// news is what changed since the last views.
type news struct {
	moved, altered []mask // by page; altered is within moved
	pages          []uint32
}

func (n *news) note(slot uint32, altered bool) {
	p := slot / pageSlots
	if n.moved[p].empty() {
		n.pages = append(n.pages, p)
	}
	n.moved[p].set(slot)
	if altered {
		n.altered[p].set(slot)
	}
}

func (n *news) grow(slots int) {
	for len(n.moved)*pageSlots < slots {
		n.moved, n.altered = append(n.moved, mask{}), append(n.altered, mask{})
	}
}

// add takes in what is in o.
func (n *news) add(o *news) {
	n.grow(len(o.moved) * pageSlots)
	for _, p := range o.pages {
		if n.moved[p].empty() {
			n.pages = append(n.pages, p)
		}
		for w := range o.moved[p] {
			n.moved[p][w] |= o.moved[p][w]
			n.altered[p][w] |= o.altered[p][w]
		}
	}
}

func (n *news) forget() {
	for _, p := range n.pages {
		n.moved[p], n.altered[p] = mask{}, mask{}
	}
	n.pages = n.pages[:0]
}

// merge makes c's copy of what is in the news stale, and reports whether any is.
func (n *news) merge(ps pages) bool {
	any := uint64(0)
	for i := range ps {
		p := &ps[i]
		m, a := &n.moved[p.number], &n.altered[p.number]
		for w := range p.stale {
			s := p.stale[w] | m[w]&p.known[w]
			p.stale[w] = s
			p.altered[w] |= a[w] & p.known[w]
			any |= s
		}
	}
	return any != 0
}

// restless reports whether any is stale.
func (ps pages) restless() bool {
	any := uint64(0)
	for i := range ps {
		for _, w := range ps[i].stale {
			any |= w
		}
	}
	return any != 0
}
