package handlers

import (
	"strconv"
	"strings"
)

// The encodings of answers.
const (
	encodingGzip = "gzip"
	encodingZstd = "zstd"
)

// acceptedEncoding chooses the encoding of an answer from Accept-Encoding (RFC 9110,
// 12.5.3): the one of the highest quality; of equal ones zstd, then gzip, then none. It
// returns "" for none, even if the client refuses that but accepts no other.
func acceptedEncoding(headers []string) string {
	quality := map[string]float64{} // as given
	for item := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		coding, parameters, _ := strings.Cut(item, ";")
		if coding = strings.ToLower(strings.TrimSpace(coding)); coding == "" {
			continue
		}
		if coding == "x-gzip" {
			coding = encodingGzip
		}
		quality[coding] = qualityOf(parameters)
	}
	of := func(coding string, otherwise float64) float64 {
		if q, ok := quality[coding]; ok {
			return q
		}
		if q, ok := quality["*"]; ok {
			return q
		}
		return otherwise
	}
	// An encoding that the client does not name is not acceptable. Identity is always
	// acceptable, but comes after every encoding that the client names.
	best, highest := "", of("identity", 0)
	for _, coding := range [...]string{encodingGzip, encodingZstd} {
		if q := of(coding, 0); q > 0 && q >= highest {
			best, highest = coding, q
		}
	}
	return best
}

// qualityOf reads the q of a list item, 0 to 1; an invalid one is 0.
func qualityOf(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, ok := strings.Cut(parameter, "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}
