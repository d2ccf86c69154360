package main

import (
	"bufio"
	"encoding/binary"
	"math/bits"
	"strconv"
	"time"
)

const (
	stallNs   = 20_000
	stallsMax = 1 << 20
)

// histogram counts durations in nanoseconds. 32 buckets for each power of two: a bucket is at most 3 % wide.
type histogram struct {
	counts [60 * 32]int64
	maxNs  int64
}

// figures is the form in which peers print histograms.
type figures struct {
	MaxNs   int64            `json:"max_ns"`
	Buckets map[string]int64 `json:"buckets"`
}

func bucket(ns int64) int64 {
	shift := bits.Len64(uint64(ns)>>5) - 1
	if shift < 0 {
		return ns
	}
	return int64(shift+1)<<5 + ns>>shift - 32
}

func (h *histogram) add(ns int64) {
	h.counts[bucket(ns)]++
	if ns > h.maxNs {
		h.maxNs = ns
	}
}

func (h *histogram) merge(other *histogram) {
	for i, count := range other.counts {
		h.counts[i] += count
	}
	if other.maxNs > h.maxNs {
		h.maxNs = other.maxNs
	}
}

func (h *histogram) figures() figures {
	buckets := map[string]int64{}
	for i, count := range h.counts {
		if count > 0 {
			buckets[strconv.Itoa(i)] = count
		}
	}
	return figures{h.maxNs, buckets}
}

// recorder times the operations of one thread, each from the end of the one before: no stop can hide between two.
type recorder struct {
	began     time.Time
	lastNs    int64
	histogram histogram
	// Begin and duration of the long ones, by turns.
	stalls  []int64
	dropped int64
}

func newRecorder(began time.Time) *recorder {
	return &recorder{began: began, lastNs: int64(time.Since(began)), stalls: make([]int64, 0, 2*stallsMax)}
}

// note says that an operation has ended.
func (r *recorder) note() {
	nowNs := int64(time.Since(r.began))
	tookNs := nowNs - r.lastNs
	r.histogram.add(tookNs)
	if tookNs >= stallNs {
		if len(r.stalls) < 2*stallsMax {
			r.stalls = append(r.stalls, r.lastNs, tookNs)
		} else {
			r.dropped++
		}
	}
	r.lastNs = nowNs
}

// write writes the long operations: thread, begin and duration, as little-endian words.
func (r *recorder) write(thread int64, to *bufio.Writer) error {
	for i := 0; i < len(r.stalls); i += 2 {
		words := [3]int64{thread, r.stalls[i], r.stalls[i+1]}
		if err := binary.Write(to, binary.LittleEndian, words); err != nil {
			return err
		}
	}
	return nil
}
