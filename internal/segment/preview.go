package segment

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"

	"ospulse/internal/models"
)

// The forms in which a block keeps a preview. The digits of a number mean that it is so
// many bytes of the beginning of Data.
const (
	previewText     = '=' // its text follows
	previewOfValues = '~' // see appendPreview
)

// previewForm returns the preview as a block keeps it; nil if there is none. PostgreSQL
// reorders the keys of Data, but not those of the preview. Its form tells the order, which
// is the same for many events.
func previewForm(e *models.Event) []byte {
	if e.Preview == nil {
		return nil
	}
	preview := []byte(*e.Preview)
	if bytes.HasPrefix(e.Data, preview) {
		return strconv.AppendInt(nil, int64(len(preview)), 10)
	}
	form := appendPreview([]byte{previewOfValues}, preview, e.Data)
	if text, err := previewOf(form, e.Data); err == nil && text == *e.Preview {
		return form
	}
	return append([]byte{previewText}, preview...)
}

// appendPreview appends the length of a preview, and then its parts and values by turns,
// as cut returns them. A part is its length and its text. A value is its place among the
// values of data, plus one; or 0, its length and its text. The last value may go on behind
// the end of the preview.
func appendPreview(out, preview, data []byte) []byte {
	_, known := cut(data, nil, nil)
	parts, values := cut(preview, nil, nil)
	out = binary.AppendUvarint(out, uint64(len(preview)))
	for i, value := range values {
		isLast := i == len(values)-1 && len(parts[i+1]) == 0
		place := slices.IndexFunc(known, func(k []byte) bool {
			return bytes.Equal(k, value) || isLast && bytes.HasPrefix(k, value)
		})
		out = binary.AppendUvarint(appendBytes(out, parts[i]), uint64(place+1))
		if place < 0 {
			out = appendBytes(out, value)
		}
	}
	return appendBytes(out, parts[len(values)])
}

// previewOf reverses previewForm.
func previewOf(form, data []byte) (string, error) {
	switch {
	case len(form) > 0 && form[0] == previewText:
		return string(form[1:]), nil
	case len(form) == 0 || form[0] != previewOfValues:
		n, err := strconv.Atoi(string(form))
		if err != nil || n < 0 || n > len(data) {
			return "", ErrDamaged
		}
		return string(data[:n]), nil
	}
	_, values := cut(data, nil, nil)
	r := reader{text: form[1:]}
	n := r.uvarint()
	var out []byte
	for uint64(len(out)) < n && len(r.text) > 0 {
		if out = append(out, r.bytes()...); len(r.text) == 0 {
			break
		}
		switch place := r.uvarint(); {
		case place == 0:
			out = append(out, r.bytes()...)
		case place <= uint64(len(values)):
			out = append(out, values[place-1]...)
		default:
			return "", ErrDamaged
		}
	}
	if r.failed || uint64(len(out)) < n {
		return "", ErrDamaged
	}
	return string(out[:n]), nil
}
