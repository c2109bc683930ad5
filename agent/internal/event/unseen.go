package event

// UnseenTLS is a tls_unseen: a program runs a file that seems to have TLS, in which the agent
// finds no function to read the plaintext at. The file is the program, or a library.
type UnseenTLS struct {
	Actor Process
	Path  string
}

// AppendJSON appends the data of the event.
func (u *UnseenTLS) AppendJSON(out []byte) []byte {
	o := begin(out)
	o.text("filePath", u.Path)
	o.text("reason", "no_known_functions")
	o.metadata(&u.Actor)
	return o.end()
}
