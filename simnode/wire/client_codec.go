package wire

// The types of messages from clients and to them. A number is never used for another.
const (
	typeHello = iota + 1
	typeSteer
	typeDo
	typeGoodbye
)

const (
	typeWelcome = iota + 1
	typeEventAck
	typeGateways
	typeBye
	typeView
)

// magic follows the type of a Hello, and Version follows it: in every version,
// so that a client of another one can be told so.
const magic = "WEFT"

func newClient(kind byte) ClientMessage {
	switch kind {
	case typeHello:
		return new(Hello)
	case typeSteer:
		return new(Steer)
	case typeDo:
		return new(Do)
	case typeGoodbye:
		return new(Goodbye)
	}
	return nil
}

func newServer(kind byte) ServerMessage {
	switch kind {
	case typeWelcome:
		return new(Welcome)
	case typeEventAck:
		return new(EventAck)
	case typeGateways:
		return new(Gateways)
	case typeBye:
		return new(Bye)
	case typeView:
		return new(View)
	}
	return nil
}

func (*Hello) clientType() byte    { return typeHello }
func (*Steer) clientType() byte    { return typeSteer }
func (*Do) clientType() byte       { return typeDo }
func (*Goodbye) clientType() byte  { return typeGoodbye }
func (*Welcome) serverType() byte  { return typeWelcome }
func (*EventAck) serverType() byte { return typeEventAck }
func (*Gateways) serverType() byte { return typeGateways }
func (*Bye) serverType() byte      { return typeBye }
func (*View) serverType() byte     { return typeView }

func (m *Hello) fields(c coder) coder {
	if !c.reading {
		c.w.B = append(append(c.w.B, magic...), Version)
	} else if string(c.r.Take(len(magic))) != magic {
		c.r.Fail(ErrMalformed)
	} else if v := c.r.U8(); c.r.Err() == nil && v != Version {
		c.r.Fail(ErrVersion)
	}
	num(&c, &m.Player)
	num(&c, &m.Session)
	text(&c, &m.Ticket, MaxTicketBytes)
	num(&c, &m.LastEvent)
	return c
}

func (m *Steer) fields(c coder) coder {
	c.command(&m.Command)
	return c
}

func (m *Do) fields(c coder) coder {
	c.event(&m.Event)
	return c
}

func (m *Goodbye) fields(c coder) coder { return c }

func (m *Welcome) fields(c coder) coder {
	num(&c, &m.Session)
	c.id(&m.Entity)
	num(&c, &m.LastEvent)
	num(&c, &m.TickHz)
	c.int64(&m.OriginUnixMilli)
	num(&c, &m.Tick)
	num(&c, &m.KeepAliveMilli)
	text(&c, &m.Resume, MaxTicketBytes)
	urls(&c, &m.Gateways)
	return c
}

func urls(c *coder, v *[]string) {
	count(c, v, MaxGateways, 1)
	for i := range *v {
		text(c, &(*v)[i], MaxGatewayURLLen)
	}
}

func (m *EventAck) fields(c coder) coder {
	num(&c, &m.Event)
	octet(&c, &m.Outcome)
	c.id(&m.Entity)
	num(&c, &m.Hop)
	return c
}

func (m *Gateways) fields(c coder) coder {
	urls(&c, &m.URLs)
	return c
}

func (m *Bye) fields(c coder) coder {
	octet(&c, &m.Reason)
	c.bool(&m.Resume)
	text(&c, &m.Text, MaxTextBytes)
	return c
}
