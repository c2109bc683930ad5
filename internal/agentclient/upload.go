package agentclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"sync"
	"time"
)

// File is a file for an agent. Open opens it anew.
type File struct {
	Name      string
	SHA256    string // in hexadecimal
	SizeBytes int64
	Open      func() (io.ReadCloser, error)
}

// downloadBytesPerSecond is the least speed at which an agent must download a file.
const downloadBytesPerSecond = 1 << 20

// Upload gives the agent a file and returns the agent's name for it, which Start needs. An
// agent that fetches its work downloads the file. To others, Upload streams the file with a
// Content-Length, because some Python servers read a chunked body as empty.
//
// It calls Open once per try, after closing the previous reader; every reader is closed
// when Upload returns. An error of Open or of a reader, or a reader with another size,
// is not the agent's fault: it is returned wrapped, without an agent code.
func (c *Client) Upload(ctx context.Context, file File) (string, error) {
	send := c.sendFile
	if c.isFetched {
		send = c.offerFile
	}
	answer, err := send(ctx, file)
	if err != nil {
		return "", err
	}
	agentName, err := decodeUpload(answer, file.Name)
	if err != nil {
		return "", c.failed(err, "gave the file a name that cannot be used")
	}
	return agentName, nil
}

// offerFile makes the agent download a file.
func (c *Client) offerFile(ctx context.Context, file File) ([]byte, error) {
	request := jsonSource(map[string]any{"fileName": file.Name, "sizeBytes": file.SizeBytes}).with(FileHeader, file.SHA256)
	request.more = time.Duration(file.SizeBytes/downloadBytesPerSecond) * time.Second
	return c.call(ctx, &c.upload, request)
}

// sendFile sends the agent a file.
func (c *Client) sendFile(ctx context.Context, f File) ([]byte, error) {
	var envelope bytes.Buffer
	form := multipart.NewWriter(&envelope)
	_, _ = form.CreateFormFile("file", f.Name) // writes to a buffer cannot fail
	headBytes := envelope.Len()
	_ = form.Close()
	head, tail := envelope.Bytes()[:headBytes], envelope.Bytes()[headBytes:]

	var unread error // error of reading the file
	var inUse sync.WaitGroup
	answer, err := c.call(ctx, &c.upload, source{
		header: http.Header{
			"Content-Type": {form.FormDataContentType()},
			// The agent can refuse the file before it is sent. Otherwise the answer
			// could be lost when the agent closes the connection.
			"Expect": {"100-continue"},
		},
		sizeBytes: int64(envelope.Len()) + f.SizeBytes,
		open: func(progress func()) (io.ReadCloser, error) {
			inUse.Wait() // an agent may answer while it still receives the file
			file, err := f.Open()
			if err != nil {
				unread = err
				return nil, err
			}
			inUse.Add(1)
			content := &sizedFile{file, f.SizeBytes, &unread}
			return &watchedBody{
				Reader:   io.MultiReader(bytes.NewReader(head), content, bytes.NewReader(tail)),
				progress: progress,
				close:    sync.OnceValue(func() error { defer inUse.Done(); return file.Close() }),
			}, nil
		},
	})
	inUse.Wait()
	if unread != nil {
		return nil, fmt.Errorf("reading the file for the agent: %w", unread)
	}
	return answer, err
}

// watchedBody reports each read of the transport.
type watchedBody struct {
	io.Reader
	progress func()
	close    func() error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.progress()
	return n, err
}

func (b *watchedBody) Close() error { return b.close() }

var errSizeChanged = errors.New("the file has not the size that was told")

// sizedFile reads exactly leftBytes more bytes. It separates its errors from those of
// the connection.
type sizedFile struct {
	file      io.Reader
	leftBytes int64
	failure   *error
}

func (f *sizedFile) Read(p []byte) (int, error) {
	n, err := f.file.Read(p)
	f.leftBytes -= int64(n)
	if f.leftBytes < 0 || f.leftBytes > 0 && err == io.EOF {
		err = errSizeChanged
	}
	if err != nil && err != io.EOF {
		*f.failure = err
	}
	return n, err
}
