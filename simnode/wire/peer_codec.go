package wire

// The types of peer messages. A number is never used for another.
const (
	typeSubscribe = iota + 1
	typeFrame
	typeLogin
	typeLoggedIn
	typeLogout
	typeInputs
	typeAct
	typeAck
	typeTransfer
	typeInstalled
	typeDurableAck
	typeLow
	typePickRequest
	typePickRefusal
	typeImpacts
	typeImpactAck
	typeFreshen
	typeNews
	typeLate
	typeRelay
)

// The fewest bytes of an item of a list.
const (
	minInputBytes  = 7
	minImpactBytes = 8
)

func newPeer(kind byte) PeerMessage {
	switch kind {
	case typeSubscribe:
		return new(Subscribe)
	case typeFrame:
		return new(Frame)
	case typeLogin:
		return new(Login)
	case typeLoggedIn:
		return new(LoggedIn)
	case typeLogout:
		return new(Logout)
	case typeInputs:
		return new(Inputs)
	case typeAct:
		return new(Act)
	case typeAck:
		return new(Ack)
	case typeTransfer:
		return new(Transfer)
	case typeInstalled:
		return new(Installed)
	case typeDurableAck:
		return new(DurableAck)
	case typeLow:
		return new(Low)
	case typePickRequest:
		return new(PickRequest)
	case typePickRefusal:
		return new(PickRefusal)
	case typeImpacts:
		return new(Impacts)
	case typeImpactAck:
		return new(ImpactAck)
	case typeFreshen:
		return new(Freshen)
	case typeNews:
		return new(News)
	case typeLate:
		return new(Late)
	case typeRelay:
		return new(Relay)
	}
	return nil
}

func (*Subscribe) peerType() byte   { return typeSubscribe }
func (*Frame) peerType() byte       { return typeFrame }
func (*Login) peerType() byte       { return typeLogin }
func (*LoggedIn) peerType() byte    { return typeLoggedIn }
func (*Logout) peerType() byte      { return typeLogout }
func (*Inputs) peerType() byte      { return typeInputs }
func (*Act) peerType() byte         { return typeAct }
func (*Ack) peerType() byte         { return typeAck }
func (*Transfer) peerType() byte    { return typeTransfer }
func (*Installed) peerType() byte   { return typeInstalled }
func (*DurableAck) peerType() byte  { return typeDurableAck }
func (*Low) peerType() byte         { return typeLow }
func (*PickRequest) peerType() byte { return typePickRequest }
func (*PickRefusal) peerType() byte { return typePickRefusal }
func (*Impacts) peerType() byte     { return typeImpacts }
func (*ImpactAck) peerType() byte   { return typeImpactAck }
func (*Freshen) peerType() byte     { return typeFreshen }
func (*News) peerType() byte        { return typeNews }
func (*Late) peerType() byte        { return typeLate }
func (*Relay) peerType() byte       { return typeRelay }

func (m *Subscribe) fields(c coder) coder {
	num(&c, &m.Zone)
	c.bool(&m.Off)
	return c
}

func (m *Frame) fields(c coder) coder {
	num(&c, &m.Zone)
	num(&c, &m.Epoch)
	num(&c, &m.Tick)
	c.rest(&m.Data)
	return c
}

func (m *Login) fields(c coder) coder {
	num(&c, &m.Player)
	num(&c, &m.Session)
	return c
}

func (m *LoggedIn) fields(c coder) coder {
	num(&c, &m.Zone)
	num(&c, &m.Epoch)
	num(&c, &m.Player)
	num(&c, &m.Session)
	num(&c, &m.LastEvent)
	return c
}

func (m *Logout) fields(c coder) coder {
	num(&c, &m.Player)
	num(&c, &m.Session)
	c.bool(&m.Now)
	return c
}

func (m *Inputs) fields(c coder) coder {
	num(&c, &m.Zone)
	count(&c, &m.Inputs, MaxInputs, minInputBytes)
	for i := range m.Inputs {
		in := &m.Inputs[i]
		num(&c, &in.Player)
		num(&c, &in.Session)
		c.command(&in.Command)
	}
	return c
}

func (m *Act) fields(c coder) coder {
	num(&c, &m.Player)
	num(&c, &m.Session)
	octet(&c, &m.Hops)
	text(&c, &m.Gateway, MaxNodeIDBytes)
	c.event(&m.Event)
	return c
}

func (m *Ack) fields(c coder) coder {
	num(&c, &m.Player)
	num(&c, &m.Session)
	num(&c, &m.Event)
	octet(&c, &m.Outcome)
	c.id(&m.Entity)
	num(&c, &m.Hop)
	return c
}

func (m *Transfer) fields(c coder) coder {
	num(&c, &m.From)
	num(&c, &m.N)
	num(&c, &m.To)
	num(&c, &m.Tick)
	count(&c, &m.Members, MaxMembers, MinEntityBytes)
	for i := range m.Members {
		c.entity(&m.Members[i])
	}
	c.pick(&m.Pick)
	return c
}

func (m *Installed) fields(c coder) coder {
	num(&c, &m.From)
	num(&c, &m.N)
	num(&c, &m.To)
	return c
}

func (m *DurableAck) fields(c coder) coder {
	num(&c, &m.From)
	num(&c, &m.N)
	num(&c, &m.To)
	return c
}

func (m *Low) fields(c coder) coder {
	num(&c, &m.From)
	num(&c, &m.To)
	num(&c, &m.N)
	return c
}

func (m *PickRequest) fields(c coder) coder {
	num(&c, &m.From)
	num(&c, &m.To)
	c.pick(&m.Pick)
	c.id(&m.Item)
	num(&c, &m.Hop)
	return c
}

func (m *PickRefusal) fields(c coder) coder {
	num(&c, &m.From)
	num(&c, &m.To)
	c.pick(&m.Pick)
	c.id(&m.Item)
	return c
}

func (m *Impacts) fields(c coder) coder {
	num(&c, &m.From)
	num(&c, &m.Epoch)
	num(&c, &m.To)
	num(&c, &m.ToEpoch)
	num(&c, &m.Base)
	num(&c, &m.First)
	count(&c, &m.Impacts, MaxImpacts, minImpactBytes)
	for i := range m.Impacts {
		v := &m.Impacts[i]
		c.id(&v.Target)
		c.id(&v.Source)
		c.vec(&v.Push)
		c.int16(&v.Damage)
	}
	return c
}

func (m *ImpactAck) fields(c coder) coder {
	num(&c, &m.From)
	num(&c, &m.Epoch)
	num(&c, &m.To)
	num(&c, &m.Next)
	return c
}

func (m *Freshen) fields(c coder) coder {
	num(&c, &m.Zone)
	num(&c, &m.Epoch)
	num(&c, &m.Tick)
	c.rest(&m.Poses)
	return c
}

func (m *News) fields(c coder) coder {
	num(&c, &m.Version)
	return c
}

func (m *Late) fields(c coder) coder {
	num(&c, &m.Tick)
	return c
}

func (m *Relay) fields(c coder) coder {
	text(&c, &m.To, MaxNodeIDBytes)
	c.rest(&m.Message)
	if c.reading && (len(m.Message) == 0 || m.Message[0] == typeRelay) {
		c.r.Fail(ErrMalformed)
	}
	return c
}
