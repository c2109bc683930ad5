package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
)

// UploadFile uploads a target file to the backend at url and returns the ID of its
// session.
func UploadFile(ctx context.Context, url, name, content string) (sessionID string, err error) {
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	file, err := parts.CreateFormFile("file", name)
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(file, content); err != nil {
		return "", err
	}
	if err := parts.Close(); err != nil {
		return "", err
	}
	text, err := Call(ctx, http.MethodPost, url+"/api/create-session", parts.FormDataContentType(), &form)
	if err != nil {
		return "", err
	}
	var created struct{ SessionID string }
	err = json.Unmarshal(text, &created)
	return created.SessionID, err
}

// Post sends a value as JSON.
func Post(ctx context.Context, url string, value any) error {
	text, err := json.Marshal(value)
	if err == nil {
		_, err = Call(ctx, http.MethodPost, url, "application/json", bytes.NewReader(text))
	}
	return err
}

// Call makes a request and returns the body of the answer. Any status but 200 is an
// error.
func Call(ctx context.Context, method, url, contentType string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %.300s", method, url, response.Status, text)
	}
	return text, err
}
