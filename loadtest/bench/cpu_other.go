//go:build !linux

package bench

import "time"

var began = time.Now()

// threadCPU is the time of the clock where a thread's own cannot be read.
func threadCPU() time.Duration { return time.Since(began) }
