package main

import "hash/crc32"

const (
	digestBasis = 0xcbf29ce484222325
	digestPrime = 0x100000001b3
	multiplier  = 6364136223846793005
	increment   = 1442695040888963407
	payloadMean = 240
	payloadMin  = 128
	driftMax    = 96
	textStarts  = 1 << 16
	textExtra   = 1 << 10
)

// record is one of the workload's.
type record struct {
	id     int32
	visits int32
	size   int32
	// When it was made and when it was used last, in operations of its shard.
	times   []int32
	payload string
}

// counts says what shards did.
type counts struct {
	Hits             int64 `json:"hits"`
	Misses           int64 `json:"misses"`
	Inserts          int64 `json:"inserts"`
	Replacements     int64 `json:"replacements"`
	Evictions        int64 `json:"evictions"`
	Checksum         int64 `json:"checksum"`
	LiveRecords      int64 `json:"live_records"`
	LivePayloadBytes int64 `json:"live_payload_bytes"`
}

func (c *counts) add(other counts) {
	c.Hits += other.Hits
	c.Misses += other.Misses
	c.Inserts += other.Inserts
	c.Replacements += other.Replacements
	c.Evictions += other.Evictions
	c.Checksum += other.Checksum
	c.LiveRecords += other.LiveRecords
	c.LivePayloadBytes += other.LivePayloadBytes
}

// shard is a thread's share of the records: which operation comes next, and which record has been unused for longest.
type shard struct {
	table   []*record
	text    []byte
	state   uint64
	records int64
	firstID int32
	// The key used at each time, or -1: a ring.
	history []int32
	mask    int64
	now     int64
	oldest  int64
	counts  counts
}

// makeText makes the text that payloads are cut from: lower-case letters.
func makeText(seed uint64) []byte {
	text := make([]byte, textStarts+textExtra)
	state := seed
	for i := range text {
		state = state*multiplier + increment
		bits := state ^ state>>33
		text[i] = 'a' + byte((bits>>32&0xffff)*26>>16)
	}
	return text
}

func newShard(text []byte, seed uint64, number int, records int64) *shard {
	length := int64(1)
	for length < 4*records {
		length *= 2
	}
	s := &shard{
		table:   make([]*record, 2*records),
		text:    text,
		state:   seed*0x9e3779b97f4a7c15 + uint64(number)*0xd1b54a32d192ed03,
		records: records,
		firstID: int32(number) * 2 * int32(records),
		history: make([]int32, length),
		mask:    length - 1,
	}
	for i := range s.history {
		s.history[i] = -1
	}
	return s
}

func (s *shard) next() uint64 {
	s.state = s.state*multiplier + increment
	return s.state ^ s.state>>33
}

// fill stores the next of the records that are there at the start.
func (s *shard) fill() {
	bits := s.next()
	s.put(2*s.now+int64(bits&1), bits)
	s.now++
}

// step does the next operation.
func (s *shard) step() {
	bits := s.next()
	key := int64((bits >> 32) * 2 * uint64(s.records) >> 32)
	if bits&3 == 0 {
		s.get(key)
	} else {
		s.put(key, bits)
	}
	s.now++
}

func (s *shard) get(key int64) {
	found := s.table[key]
	if found == nil {
		s.counts.Misses++
		s.history[s.now&s.mask] = -1
		return
	}
	found.visits++
	found.times[1] = int32(s.now)
	s.counts.Hits++
	s.counts.Checksum += int64(found.size) + int64(found.payload[len(found.payload)-1])
	s.history[s.now&s.mask] = int32(key)
}

func (s *shard) put(key int64, bits uint64) {
	phase := s.now % (4 * s.records)
	height := phase
	if 4*s.records-phase < height {
		height = 4*s.records - phase
	}
	size := payloadMin + height*driftMax/(2*s.records) + int64(bits>>8&0x7f)
	start := int64(bits >> 16 & (textStarts - 1))
	payload := string(s.text[start : start+size])
	if found := s.table[key]; found == nil {
		now := int32(s.now)
		s.table[key] = &record{
			id: s.firstID + int32(key), size: int32(size), times: []int32{now, now}, payload: payload,
		}
		s.counts.Inserts++
		s.counts.LiveRecords++
		s.counts.LivePayloadBytes += size
	} else {
		s.counts.LivePayloadBytes += size - int64(found.size)
		found.payload = payload
		found.size = int32(size)
		found.times[1] = int32(s.now)
		s.counts.Replacements++
	}
	s.history[s.now&s.mask] = int32(key)
	s.evict()
}

func (s *shard) evict() {
	for s.counts.LivePayloadBytes > payloadMean*s.records {
		if key := s.history[s.oldest&s.mask]; key >= 0 {
			if found := s.table[key]; found != nil && int64(found.times[1]) == s.oldest {
				s.table[key] = nil
				s.counts.Evictions++
				s.counts.LiveRecords--
				s.counts.LivePayloadBytes -= int64(found.size)
			}
		}
		s.oldest++
	}
	if s.now-s.oldest > s.mask {
		panic("the history is too short")
	}
}

// digest continues a digest with every record alive, in the order of their keys.
func (s *shard) digest(digest uint64) uint64 {
	var records, bytes int64
	for _, found := range s.table {
		if found == nil {
			continue
		}
		content := uint64(crc32.ChecksumIEEE([]byte(found.payload)))
		for _, word := range [3]uint64{
			uint64(found.times[1])<<32 | content,
			uint64(found.id)<<32 | uint64(found.visits),
			uint64(found.times[0]),
		} {
			digest = (digest ^ word) * digestPrime
		}
		records++
		bytes += int64(len(found.payload))
	}
	if records != s.counts.LiveRecords || bytes != s.counts.LivePayloadBytes {
		panic("records were lost")
	}
	return digest
}
