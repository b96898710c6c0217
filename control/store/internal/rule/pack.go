package rule

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"sync"

	"weft/control/store"
)

// packAbove is the size in bytes below which packing cannot save a write unit.
const packAbove = 512

var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.DefaultCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// Pack returns body deflated (RFC 1951), as drivers that are billed by the KiB
// store it, or nil where that is no shorter.
func Pack(body []byte) []byte {
	if len(body) <= packAbove {
		return nil
	}
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	var packed bytes.Buffer
	w.Reset(&packed)
	_, err := w.Write(body)
	if closed := w.Close(); err != nil || closed != nil || packed.Len() >= len(body) {
		return nil // a buffer takes all; this is for form
	}
	return packed.Bytes()
}

// PackedBytes is the size of body as Pack leaves it.
func PackedBytes(body []byte) int {
	if packed := Pack(body); packed != nil {
		return len(packed)
	}
	return len(body)
}

// Unpack is the inverse of Pack. It refuses what would be longer than any
// record may be.
func Unpack(packed []byte) ([]byte, error) {
	const limit = max(store.MaxRecordBytes, store.MaxChunkBytes)
	body, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), limit+1))
	if err == nil && len(body) > limit {
		err = store.ErrTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("damaged packed record: %w", err)
	}
	return body, nil
}
