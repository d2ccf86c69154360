// The workload of README.md on the Go heap. Prints one line of JSON.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const sleep = time.Millisecond

type report struct {
	Runtime    string `json:"runtime"`
	Records    int64  `json:"records"`
	Operations int64  `json:"operations"`
	Threads    int    `json:"threads"`
	Seed       uint64 `json:"seed"`
	Digest     string `json:"digest"`
	counts
	FillNs    int64   `json:"fill_ns"`
	ChurnNs   int64   `json:"churn_ns"`
	Dropped   int64   `json:"stalls_dropped"`
	Operation figures `json:"operation"`
	Sleeper   figures `json:"sleeper"`
	Cycles    int64   `json:"cycles"`
	// The latest 256 collections.
	PausesNs []int64 `json:"pauses_ns"`
}

// mutator fills and churns one shard.
type mutator struct {
	shard    *shard
	recorder *recorder
	// When the last record was stored that is there at the start, in nanoseconds.
	filledNs int64
}

func (m *mutator) run(records, operations int64, began time.Time) {
	m.recorder = newRecorder(began)
	for i := int64(0); i < records; i++ {
		m.shard.fill()
		m.recorder.note()
	}
	m.filledNs = m.recorder.lastNs
	for i := int64(0); i < operations; i++ {
		m.shard.step()
		m.recorder.note()
	}
}

// sleeper sleeps a millisecond at a time and measures how much longer it took to be back at work.
func sleeper(stop *atomic.Bool, late *histogram) {
	beacon := &record{visits: 1}
	for !stop.Load() {
		began := time.Now()
		time.Sleep(sleep)
		if beacon.visits != 1 {
			panic("the beacon is there")
		}
		late.add(int64(time.Since(began) - sleep))
	}
}

func main() {
	records := flag.Int64("records", 4_000_000, "of all threads")
	operations := flag.Int64("operations", 12_000_000, "of all threads")
	threads := flag.Int("threads", 2, "with a shard each")
	seed := flag.Uint64("seed", 1, "of the random numbers")
	stalls := flag.String("stalls", "", "where the long operations go")
	budget := flag.Int64("budget", 5<<30, "of the heap, in bytes")
	flag.Parse()
	debug.SetMemoryLimit(*budget)

	text := makeText(*seed)
	each := *records / int64(*threads)
	mutators := make([]*mutator, *threads)
	for i := range mutators {
		mutators[i] = &mutator{shard: newShard(text, *seed, i, each)}
	}
	var stop atomic.Bool
	var late histogram
	var mutating, sleeping sync.WaitGroup
	began := time.Now()
	sleeping.Add(1)
	go func() {
		defer sleeping.Done()
		sleeper(&stop, &late)
	}()
	for _, m := range mutators {
		mutating.Add(1)
		go func(m *mutator) {
			defer mutating.Done()
			m.run(each, *operations/int64(*threads), began)
		}(m)
	}
	mutating.Wait()
	stop.Store(true)
	sleeping.Wait()

	result := report{
		Runtime: runtime.Version(), Records: *records, Operations: *operations, Threads: *threads, Seed: *seed,
		Sleeper: late.figures(),
	}
	if err := result.complete(mutators, *stalls); err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		os.Exit(1)
	}
	// The caller looks at this process's memory before it lets it go.
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		os.Exit(1)
	}
}

// complete adds what the mutators found and prints everything.
func (r *report) complete(mutators []*mutator, stalls string) error {
	var gc debug.GCStats
	debug.ReadGCStats(&gc)
	r.Cycles = gc.NumGC
	for _, pause := range gc.Pause {
		r.PausesNs = append(r.PausesNs, int64(pause))
	}
	operation := &histogram{}
	digest := uint64(digestBasis)
	for _, m := range mutators {
		digest = m.shard.digest(digest)
		r.counts.add(m.shard.counts)
		operation.merge(&m.recorder.histogram)
		r.Dropped += m.recorder.dropped
		if m.filledNs > r.FillNs {
			r.FillNs = m.filledNs
		}
		if churnNs := m.recorder.lastNs - m.filledNs; churnNs > r.ChurnNs {
			r.ChurnNs = churnNs
		}
	}
	r.Digest = fmt.Sprintf("%016x", digest)
	r.Operation = operation.figures()
	if stalls != "" {
		file, err := os.Create(stalls)
		if err != nil {
			return err
		}
		to := bufio.NewWriter(file)
		for i, m := range mutators {
			if err := m.recorder.write(int64(i), to); err != nil {
				return err
			}
		}
		if err := to.Flush(); err != nil {
			return err
		}
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	return nil
}
