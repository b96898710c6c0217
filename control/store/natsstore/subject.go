package natsstore

import (
	"fmt"
	"net/url"
	"strings"
)

// escape makes any string one token of a subject: percent-encoded, dots and
// stars included, and a lone % for the empty one.
func escape(s string) string {
	if s == "" {
		return "%"
	}
	plain := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	}
	var b strings.Builder
	for i := range len(s) {
		if plain(s[i]) {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

// unescape is the inverse of escape.
func unescape(token string) (string, error) {
	if token == "%" {
		return "", nil
	}
	return url.PathUnescape(token)
}

// subject joins a kind of record and the ids that name it.
func subject[S ~string](kind string, ids ...S) string {
	var b strings.Builder
	b.WriteString("weft." + kind)
	for _, id := range ids {
		b.WriteByte('.')
		b.WriteString(escape(string(id)))
	}
	return b.String()
}

// chunkSubject turns each segment of key into a token, so that a prefix of
// whole segments is a filter on subjects.
func chunkSubject(key string) string { return subject("chunk", strings.Split(key, "/")...) }

// chunkKey is the inverse of chunkSubject.
func chunkKey(subject string) (string, error) {
	tokens := strings.Split(strings.TrimPrefix(subject, "weft.chunk."), ".")
	for i, t := range tokens {
		var err error
		if tokens[i], err = unescape(t); err != nil {
			return "", err
		}
	}
	return strings.Join(tokens, "/"), nil
}

// chunkFilter matches the subjects of all keys that begin with prefix, and
// perhaps more.
func chunkFilter(prefix string) string {
	segments := strings.Split(prefix, "/")
	return subject("chunk", segments[:len(segments)-1]...) + ".>"
}
