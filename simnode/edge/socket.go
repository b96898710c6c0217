package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"weft/control/options"
	"weft/simnode/metadata"
)

const (
	dialTimeout = time.Second
	// unansweredTimeout is how long bytes may stay unacknowledged before a
	// connection counts as broken: the machine at the other end is gone.
	unansweredTimeout = 10 * time.Second
)

var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 2 * time.Second, Count: 3}

// listen opens a listener. Its error is a sentence that names the variable.
func listen(ctx context.Context, variable, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{KeepAliveConfig: keepAlive, Control: limitUnanswered}).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("another program listens on %s; stop it or set %s to another address", address, variable)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s (%w); set %s to an address of this machine", address, err, variable)
	}
	return l, nil
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialTimeout, KeepAliveConfig: keepAlive, Control: limitUnanswered}).DialContext(ctx, "tcp", address)
}

// refused reports that nobody listens at the address that was dialed.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// advertised returns the address at which others reach a listener: the wanted
// one, with the listener's port where it says 0, and what the machine says
// where it says metadata.
func advertised(ctx context.Context, wanted string, at net.Addr) (string, error) {
	if wanted == "" {
		return at.String(), nil
	}
	if wanted == options.Metadata {
		wanted += ":0"
	}
	host, port, err := net.SplitHostPort(wanted)
	if err == nil && port == "0" {
		_, port, _ = net.SplitHostPort(at.String())
	}
	if host == options.Metadata {
		if host, err = metadata.New(os.Getenv).Address(ctx, false); err != nil {
			return "", fmt.Errorf("WEFT_ADVERTISE: %w", err)
		}
	}
	return net.JoinHostPort(host, port), nil
}

// clientURL returns the URL at which clients reach a listener, likewise.
func clientURL(ctx context.Context, wanted, scheme string, at net.Addr) (string, error) {
	if wanted == "" {
		return (&url.URL{Scheme: scheme, Host: at.String(), Path: "/"}).String(), nil
	}
	u, err := url.Parse(wanted)
	if err != nil {
		return "", err
	}
	label, domain, named := strings.Cut(u.Hostname(), ".")
	if label != options.Metadata {
		return wanted, nil
	}
	host, err := metadata.New(os.Getenv).Address(ctx, true)
	if err != nil {
		return "", fmt.Errorf("WEFT_CLIENT_ADVERTISE: %w", err)
	}
	if named {
		host = strings.NewReplacer(".", "-", ":", "-").Replace(host) + "." + domain
	}
	switch port := u.Port(); port {
	case "":
		u.Host = host
	case "0":
		_, port, _ = net.SplitHostPort(at.String())
		fallthrough
	default:
		u.Host = net.JoinHostPort(host, port)
	}
	return u.String(), nil
}
