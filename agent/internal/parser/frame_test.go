//go:build linux

package parser

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzDecode checks that no frame causes a panic, that every event is valid JSON, and that the
// agent accepts the answer. It does not use the guard against panics.
func FuzzDecode(f *testing.F) {
	const head = "000000000000000000000000"
	for _, text := range []string{
		head + "0800 4500003c1c4640004006207 47f0000017f000001 881a6f1b8ebf4c2700000000a002ffd7fe300000 0204ffd70402080a8ebf4c27000000000103030a",
		head + "0800 45000049000100004011 7ca17f0000017f000001 0035dc9600350000 00078180000100010000000007 6578616d706c6503636f6d0000010001 c00c000100010000003c00045db8d822",
		head + "86dd 6000000000182c40 00000000000000000000000000000001 00000000000000000000000000000001 110000010000002a 3039000700120000 6161616161616161",
		head + "0800 45c0003c00010000400100007f0000017f000001 0303000000000000 4500002000010000401100007f0000017f000001 c46014e9000c0000 78787878",
	} {
		frame, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame, 14, uint16(frame[12])<<8|uint16(frame[13]), 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, network int, etherType uint16, vlan int) {
		frame := Frame{Data: data, Network: network, Length: len(data), EtherType: etherType, VLAN: vlan & 0xfff}
		var d decoder
		d.read(&frame)
		e := describe(&d.decoded, 16)
		name(e, &d.decoded)
		if out := e.AppendJSON(nil); !json.Valid(out) {
			t.Errorf("%s", out)
		}
		if len(e.Content.Bytes) > 16 {
			t.Errorf("%d bytes of content", len(e.Content.Bytes))
		}
		var got Answer
		if err := got.read((&Answer{Packet: d.packet(&frame, 16), Last: true}).append(nil)[sizeBytes:]); err != nil {
			t.Error(err)
		}
	})
}

// BenchmarkFrame measures what a UDP packet of 300 bytes costs: to read and describe it, and the
// same with the question and the answer about it, without the socket.
func BenchmarkFrame(b *testing.B) {
	head, err := hex.DecodeString("00000000000000000000000008004500014800010000401100007f0000017f000001dc96000901340000")
	if err != nil {
		b.Fatal(err)
	}
	frame := Frame{Data: append(head, make([]byte, 300)...), Network: 14, Length: 342, EtherType: 0x0800}
	b.Run("decode", func(b *testing.B) {
		var d decoder
		for b.Loop() {
			d.packet(&frame, 256)
		}
	})
	b.Run("ask", func(b *testing.B) {
		const frames = 100
		w := NewWorker()
		var data, question, answer []byte
		packets := 0
		for b.Loop() {
			q := NewFrames(256, data)
			for range frames {
				q.AddFrame(&frame)
			}
			data = q.Data
			question = q.append(question[:0])
			var asked Question
			if err := asked.read(question[sizeBytes:]); err != nil {
				b.Fatal(err)
			}
			w.Answer(&asked, func(a *Answer) {
				answer = a.append(answer[:0])
				var got Answer
				if err := got.read(answer[sizeBytes:]); err != nil || got.Packet.Event.Payload != 300 {
					b.Fatal(got, err)
				}
				packets++
			})
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
	})
}
