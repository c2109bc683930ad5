package e2e

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	oidcClient = "ospulse"
	oidcSecret = "the-secret-of-the-client"
	oidcPublic = "http://dashboard.test/osp" // nothing is called there
)

// identityProvider is an OpenID Connect provider that does what a test says. Its zero
// behavior is correct. It announces algorithms that no client may accept.
type identityProvider struct {
	*httptest.Server
	key *rsa.PrivateKey

	mu      sync.Mutex
	codes   map[string]*authorization
	secrets []string // codes and tokens, which no log may have
	isAway  bool
	methods []string // token_endpoint_auth_methods_supported
	clients []string // how the client of each exchange identified itself
}

// authorization is a person's attempt, and how the provider answers it.
type authorization struct {
	nonce, challenge string
	claims           func(claims map[string]any)
	sign             func(p *identityProvider, claims map[string]any) string
	exchange         http.HandlerFunc
}

func newIdentityProvider(t *testing.T) *identityProvider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &identityProvider{key: key, codes: map[string]*authorization{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.isAway {
			http.Error(w, "<script>away</script>", http.StatusServiceUnavailable)
			return
		}
		sendJSON(t, w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"none", "HS256", "RS256"}, "token_endpoint_auth_methods_supported": p.methods,
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		sendJSON(t, w, map[string]any{"keys": []any{map[string]string{
			"kty": "RSA", "kid": "own", "use": "sig", "n": encoded(key.N.Bytes()), "e": encoded(big.NewInt(int64(key.E)).Bytes()),
		}}})
	})
	mux.HandleFunc("POST /token", p.exchange)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func sendJSON(t *testing.T, w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		t.Error(err)
	}
}

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// exchange answers the exchange of a code. It takes each code as often as it comes.
func (p *identityProvider) exchange(w http.ResponseWriter, r *http.Request) {
	id, secret, isBasic := r.BasicAuth()
	if !isBasic {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	p.mu.Lock()
	p.clients = append(p.clients, fmt.Sprintf("basic %t, secret %t", isBasic, secret != ""))
	a := p.codes[r.FormValue("code")]
	p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	w.Header().Set("Content-Type", "application/json")
	if a == nil || id != oidcClient || secret != oidcSecret && secret != "" || encoded(sum[:]) != a.challenge || r.FormValue("redirect_uri") != oidcPublic+"/api/oidc/callback" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_grant"}`) //nolint:errcheck // the client has gone
		return
	}
	if a.exchange != nil {
		a.exchange(w, r)
		return
	}
	claims := map[string]any{
		"iss": p.URL, "aud": oidcClient, "sub": "s-1", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "nonce": a.nonce,
		"preferred_username": "Ada", "roles": []string{"users", "admins"},
	}
	if a.claims != nil {
		a.claims(claims)
	}
	token := ""
	if a.sign == nil {
		token = p.signed(p.key, claims)
	} else {
		token = a.sign(p, claims)
	}
	access := rand.Text()
	p.mu.Lock()
	p.secrets = append(p.secrets, access, token)
	p.mu.Unlock()
	fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":60,"id_token":%q}`, access, token) //nolint:errcheck // see above
}

// unsigned returns the parts of a token that a signature is over.
func unsigned(header string, claims map[string]any) string {
	text, _ := json.Marshal(claims)
	return encoded([]byte(header)) + "." + encoded(text)
}

// signed returns a token that is signed by a key, which may be another than the
// provider's.
func (p *identityProvider) signed(key *rsa.PrivateKey, claims map[string]any) string {
	text := unsigned(`{"alg":"RS256","kid":"own"}`, claims)
	sum := sha256.Sum256([]byte(text))
	signature, _ := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	return text + "." + encoded(signature)
}

// settings are those of a backend with this provider.
func (p *identityProvider) settings() map[string]string {
	return map[string]string{
		"OIDC_ISSUER": p.URL, "OIDC_CLIENT_ID": oidcClient, "OIDC_CLIENT_SECRET": oidcSecret, "OIDC_NAME": "the lab's login", "PUBLIC_URL": oidcPublic,
		"OIDC_ROLES": "admins=admin,analysts=analyst,users=viewer", "TRUSTED_PROXIES": "127.0.0.0/8",
	}
}

// visit sends a browser's GET request and follows no redirect.
func (b *backend) visit(path string, header ...string) answer {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.url+path, http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	a := answer{response.StatusCode, response.Header, text}
	checkContract(b.t, request, nil, a)
	return a
}

// cookie returns the value of a cookie that an answer sets, or "".
func (a answer) cookie(name string) string {
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// attempt is a browser on its way back from the provider.
type attempt struct {
	query  url.Values
	cookie string
}

// begin starts an attempt to sign in, and lets the provider answer as a says.
func (b *backend) begin(p *identityProvider, a authorization, path string) attempt {
	b.t.Helper()
	begun := b.visit(path)
	to, err := url.Parse(begun.header.Get("Location"))
	query := to.Query()
	if err != nil || begun.status != http.StatusSeeOther || !strings.HasPrefix(to.String(), p.URL+"/authorize?") || query.Get("client_id") != oidcClient || query.Get("response_type") != "code" ||
		query.Get("redirect_uri") != oidcPublic+"/api/oidc/callback" || query.Get("code_challenge_method") != "S256" || len(query.Get("state")) < 43 || len(query.Get("nonce")) < 43 {
		b.t.Fatalf("%d %s", begun.status, to)
	}
	cookie := begun.header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, cookieOf(b)+"-oidc=") || !strings.HasSuffix(cookie, "; Path=/; Max-Age=600; HttpOnly; SameSite=Lax") {
		b.t.Errorf("the cookie of an attempt is %s", cookie)
	}
	a.nonce, a.challenge = query.Get("nonce"), query.Get("code_challenge")
	code := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.codes[code] = &a
	p.secrets = append(p.secrets, code)
	return attempt{url.Values{"state": query["state"], "code": {code}}, begun.cookie(cookieOf(b) + "-oidc")}
}

// end sends the browser of an attempt back to the backend.
func (b *backend) end(from attempt, header ...string) answer {
	b.t.Helper()
	if from.cookie != "" {
		header = append(header, "Cookie: "+cookieOf(b)+"-oidc="+from.cookie)
	}
	return b.visit("/api/oidc/callback?"+from.query.Encode(), header...)
}

// signInAs signs in a person of the provider, and returns the header with the cookie.
func (b *backend) signInAs(p *identityProvider, subject, name string, roles any) string {
	b.t.Helper()
	a := b.end(b.begin(p, authorization{claims: func(claims map[string]any) {
		claims["sub"], claims["preferred_username"], claims["roles"] = subject, name, roles
	}}, "/api/oidc/sign-in"))
	token := a.cookie(cookieOf(b))
	if location := a.header.Get("Location"); a.status != http.StatusSeeOther || location != oidcPublic+"/" || token == "" {
		b.t.Fatalf("%s cannot sign in: %d %s", name, a.status, location)
	}
	return "Cookie: " + cookieOf(b) + "=" + token
}

// refusal is an entry of the audit.
type refusal struct {
	Actor, Address string
	Status         int
	After          struct{ Reason string }
}

// TestOIDCRefusals checks what a hostile provider, browser or person can try: nobody gets
// in, the dashboard and the audit learn the reason, and the log has no code, token or secret.
func TestOIDCRefusals(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	b := startBackend(t, p.settings())
	claim := func(name string, value any) func(map[string]any) {
		return func(claims map[string]any) { claims[name] = value }
	}
	signedBy := func(sign func(p *identityProvider, claims map[string]any) string) authorization {
		return authorization{sign: sign}
	}
	answered := func(status int, body string) authorization {
		return authorization{exchange: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			fmt.Fprintf(w, body, r.FormValue("code"), oidcSecret) //nolint:errcheck // the client has gone
		}}
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&p.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	for i, tt := range []struct {
		name   string
		answer authorization
		change func(from *attempt)
		reason string
		status int // in the audit
	}{
		{"wrong issuer", authorization{claims: claim("iss", "https://other.test")}, nil, "token", 401},
		{"wrong nonce", authorization{claims: claim("nonce", "x")}, nil, "token", 401},
		{"no nonce", authorization{claims: func(c map[string]any) { delete(c, "nonce") }}, nil, "token", 401},
		{"wrong audience", authorization{claims: claim("aud", "other")}, nil, "token", 401},
		{"several audiences, unknown party", authorization{claims: claim("aud", []string{oidcClient, "other"})}, nil, "token", 401},
		{"another party", authorization{claims: claim("azp", "other")}, nil, "token", 401},
		{"expired", authorization{claims: claim("exp", time.Now().Add(-time.Second).Unix())}, nil, "token", 401},
		{"no subject", authorization{claims: claim("sub", "")}, nil, "token", 401},
		{"control characters in the subject", authorization{claims: claim("sub", "a\x00b")}, nil, "token", 401},
		{"alg none", signedBy(func(_ *identityProvider, c map[string]any) string { return unsigned(`{"alg":"none"}`, c) + "." }), nil, "token", 401},
		{"HS256 with the public key", signedBy(func(_ *identityProvider, c map[string]any) string {
			text := unsigned(`{"alg":"HS256","kid":"own"}`, c)
			mac := hmac.New(sha256.New, publicPEM)
			mac.Write([]byte(text))
			return text + "." + encoded(mac.Sum(nil))
		}), nil, "token", 401},
		{"signed by another key", signedBy(func(p *identityProvider, c map[string]any) string { return p.signed(other, c) }), nil, "token", 401},
		{"signature cut off", signedBy(func(p *identityProvider, c map[string]any) string {
			token := p.signed(p.key, c)
			return token[:strings.LastIndex(token, ".")+1]
		}), nil, "token", 401},
		{"no ID token", answered(200, `{"access_token":"x","token_type":"Bearer"}%.0s%.0s`), nil, "token", 401},
		{"exchange refused", answered(400, `{"error":"%s","error_description":"%s"}`), nil, "token", 401},
		{"exchange refused with an unknown body", answered(403, `<b>%s %s</b>`), nil, "token", 401},
		{"exchange fails", answered(500, "%s %s"), nil, "provider", 503},
		{"exchange is redirected", authorization{exchange: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/token", http.StatusTemporaryRedirect)
		}}, nil, "token", 401},
		{"no role claim", authorization{claims: func(c map[string]any) { delete(c, "roles") }}, nil, "no_role", 403},
		{"a role that is not mapped", authorization{claims: claim("roles", "guests")}, nil, "no_role", 403},
		{"a role claim of another kind", authorization{claims: claim("roles", map[string]any{"admins": true})}, nil, "no_role", 403},
		{"the name of a role", authorization{claims: claim("roles", "admin")}, nil, "no_role", 403},
		{"denied", authorization{}, func(from *attempt) {
			from.query = url.Values{"state": from.query["state"], "error": {"access_denied"}, "error_description": {"<img src=x>"}}
		}, "denied", 403},
		{"an unknown error", authorization{}, func(from *attempt) { from.query.Set("error", "\x1b[31m<b>") }, "denied", 403},
		{"another state", authorization{}, func(from *attempt) { from.query.Set("state", "x") }, "expired", 401},
		{"no state", authorization{}, func(from *attempt) { from.query.Del("state") }, "expired", 401},
		{"no cookie", authorization{}, func(from *attempt) { from.cookie = "" }, "expired", 401},
		{"the cookie of another browser", authorization{}, func(from *attempt) {
			from.cookie = b.begin(p, authorization{}, "/api/oidc/sign-in?to=/findings%3Flevel%3Dhigh").cookie
		}, "expired", 401},
		{"an invented cookie", authorization{}, func(from *attempt) { from.cookie = "." }, "expired", 401},
		{"no cookie, for an attempt without a secret", authorization{}, func(from *attempt) {
			derived := func(use string) string { sum := sha256.Sum256([]byte(use + " ")); return encoded(sum[:]) }
			challenge := sha256.Sum256([]byte(derived("verifier")))
			p.mu.Lock()
			defer p.mu.Unlock()
			p.codes[from.query.Get("code")] = &authorization{nonce: derived("nonce"), challenge: encoded(challenge[:])}
			from.cookie = ""
			from.query.Set("state", derived("state"))
		}, "expired", 401},
		{"the answer of another provider", authorization{}, func(from *attempt) { from.query.Set("iss", "https://other.test") }, "token", 401},
		{"the code of another attempt", authorization{}, func(from *attempt) {
			from.query["code"] = b.begin(p, authorization{}, "/api/oidc/sign-in").query["code"]
		}, "token", 401},
		{"no code", authorization{}, func(from *attempt) { from.query.Del("code") }, "token", 401},
	} {
		from := b.begin(p, tt.answer, "/api/oidc/sign-in?to=/findings%3Flevel%3Dhigh")
		to := "/findings?level=high"
		if tt.change != nil {
			tt.change(&from)
		}
		if len(from.cookie) < 2 {
			to = "/"
		}
		address := fmt.Sprintf("10.0.0.%d", i+1) // so that none has too many strikes
		a := b.end(from, "X-Forwarded-For: "+address)
		if location := a.header.Get("Location"); location != oidcPublic+to+"#sign-in-error="+tt.reason {
			t.Errorf("%s: the browser is sent to %s", tt.name, location)
		}
		if cookies := a.header.Values("Set-Cookie"); len(cookies) != 1 || !strings.HasPrefix(cookies[0], cookieOf(b)+"-oidc=;") || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: the cookies are %q", tt.name, cookies)
		}
		admin := b.signInAs(p, "s-admin", "Ada", "admins")
		var page struct{ Entries []refusal }
		b.decode(b.send("GET", "/api/audit?action=signInAtProvider", "", admin), http.StatusOK, &page)
		want := refusal{Address: address, Status: tt.status}
		if want.After.Reason = tt.reason; tt.reason == "no_role" {
			want.Actor = "Ada"
		}
		if !slices.Contains(page.Entries, want) {
			t.Errorf("%s: the audit has %+v, want %+v", tt.name, page.Entries, want)
		}
	}
	for _, secret := range append(p.secrets, oidcSecret) {
		if secret != "" && strings.Contains(b.log.String(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
	if strings.Contains(b.log.String(), "error_description") || strings.Contains(b.log.String(), "<b>") {
		t.Error("the log has what the provider wrote")
	}
}

// TestOIDCAttemptsOfOneAddress checks that an address cannot fill the audit with attempts
// that fail.
func TestOIDCAttemptsOfOneAddress(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	b := startBackend(t, p.settings())
	for range 50 {
		if a := b.visit("/api/oidc/callback?state=x", "X-Forwarded-For: 10.0.0.1"); a.status != http.StatusSeeOther {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	var page struct{ Entries []struct{ Status int } }
	b.decode(b.send("GET", "/api/audit", "", b.signInAs(p, "s-1", "Ada", "admins")), http.StatusOK, &page)
	if n := len(page.Entries); n < 6 || n > 25 {
		t.Errorf("the audit has %d entries", n)
	}
}

// TestOIDCReplay checks that an answer of the provider signs in one browser once, although
// this provider takes its code again.
func TestOIDCReplay(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		p := newIdentityProvider(t)
		maps.Copy(env, p.settings())
		b := startBackend(t, env)
		from := b.begin(p, authorization{}, "/api/oidc/sign-in")
		if a := b.end(from); a.cookie(cookieOf(b)) == "" {
			t.Fatalf("%d %v", a.status, a.header)
		}
		for range 2 {
			if a := b.end(from); a.cookie(cookieOf(b)) != "" || a.header.Get("Location") != oidcPublic+"/#sign-in-error=expired" {
				t.Errorf("the replay gets %d %v", a.status, a.header)
			}
		}
	})
}

// TestOIDCReturn checks that a sign-in returns to the page of the dashboard where it began,
// and to no other site.
func TestOIDCReturn(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	b := startBackend(t, p.settings())
	for to, want := range map[string]string{
		"": "/", "/": "/", "/sessions/x/findings?q=a%20b&level=high": "/sessions/x/findings?q=a%20b&level=high",
		"https://evil.test": "/", "//evil.test": "/", "///evil.test": "/", `/\evil.test`: "/", `\\evil.test`: "/", "@evil.test": "/", ".evil.test": "/", ":80@evil.test/": "/", "/../x": "/",
		"/%2e%2e/x": "/", "/x/./y": "/", "/\r\nSet-Cookie: a=b": "/", "/\t/evil.test": "/", "javascript:alert(1)": "/", "/x#y": "/", "/api/sign-out": "/", "/" + strings.Repeat("x", 5000): "/",
	} {
		from := b.begin(p, authorization{}, "/api/oidc/sign-in?to="+url.QueryEscape(to))
		secret, _, _ := strings.Cut(from.cookie, ".")
		forged := b.begin(p, authorization{}, "/api/oidc/sign-in")
		forgedSecret, _, _ := strings.Cut(forged.cookie, ".")
		forged.cookie = forgedSecret + "." + encoded([]byte(to))
		for name, from := range map[string]attempt{"asked for": from, "in a forged cookie": forged} {
			if a := b.end(from); a.header.Get("Location") != oidcPublic+want || a.cookie(cookieOf(b)) == "" {
				t.Errorf("%.60q %s: the browser is sent to %q", to, name, a.header.Get("Location"))
			}
		}
		if secret == "" {
			t.Errorf("%q: no cookie", to)
		}
	}
}

// TestOIDCPeople checks what people can do who signed in at the provider: their role, their
// own sessions, signing out; and that an admin can end their sign-ins on every backend.
func TestOIDCPeople(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		p := newIdentityProvider(t)
		maps.Copy(env, p.settings())
		b := startBackend(t, env)
		elsewhere := b
		if env["DATABASE_URL"] != "" {
			elsewhere = startBackend(t, env)
		}
		wantError(t, b.send("GET", "/api/sessions", ""), http.StatusUnauthorized, "unauthorized", "a key is required")
		if strings.Contains(b.log.String(), "#setup=") {
			t.Error("the backend offers a link for the first key, although people can sign in")
		}
		var ways struct {
			SingleSignOn struct{ Name, URL string } `json:"single_sign_on"`
		}
		b.decode(b.send("GET", "/api/sign-in", ""), http.StatusOK, &ways)
		if ways.SingleSignOn.Name != "the lab's login" || ways.SingleSignOn.URL != oidcPublic+"/api/oidc/sign-in" {
			t.Errorf("people sign in with %+v", ways)
		}
		from := b.begin(p, authorization{}, "/api/oidc/sign-in")
		a := b.end(from)
		cookie := (&http.Response{Header: a.header}).Cookies()[1]
		if cookie.Name != cookieOf(b) || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || time.Until(cookie.Expires) > 12*time.Hour {
			t.Errorf("the cookie is %v", cookie)
		}
		type person struct {
			Name, Role string
			KeyID      string `json:"key_id"`
		}
		me := func(header string) (me person) {
			t.Helper()
			b.decode(b.send("GET", "/api/me", "", header), http.StatusOK, &me)
			return me
		}
		admin := b.signInAs(p, "s-1", "Ada", []string{"users", "admins"})
		ann, bob := b.signInAs(p, "s-2", "Ann\x1b[31m\u0085", "analysts"), b.signInAs(p, "s-3", "Ann", []any{1, "analysts", nil})
		if one, two := me(ann), me(bob); one.Name != "Ann[31m" || one.Role != "analyst" || two.Role != "analyst" || one.KeyID == two.KeyID {
			t.Errorf("the others are %+v and %+v", one, two)
		}
		if ada, first := me(admin), me("Cookie: "+cookie.Name+"="+cookie.Value); ada.Role != "admin" || ada.Name != "Ada" || ada != first || !strings.HasPrefix(ada.KeyID, "oidc-") || len(ada.KeyID) != 32 {
			t.Errorf("the admin is %+v and %+v", ada, first)
		}
		session := b.createSessionOf(ann)
		wantError(t, b.send("DELETE", "/api/sessions/"+session, "", bob), http.StatusForbidden, "forbidden", "created by Ann")
		if a := b.send("DELETE", "/api/sessions/"+session, "", ann); a.status != http.StatusAccepted {
			t.Errorf("%d %s", a.status, a.body)
		}
		again := b.signInAs(p, "s-2", "Ann Smith", []string{"users"})
		if before, now := me(ann), me(again); before != now || now.Name != "Ann Smith" || now.Role != "viewer" {
			t.Errorf("a person with another role is %+v, and in an older browser %+v", now, before)
		}
		// An admin who signs in needs no key to add an agent.
		if a := b.send("POST", "/api/agents", `{"name":"lab"}`, admin); a.status != http.StatusCreated {
			t.Errorf("an agent before the first key: %d %s", a.status, a.body)
		}
		if key := b.createKeyBy(admin, `{"name":"lab","role":"agent"}`); b.send("POST", "/api/events", `{"event_type":"x"}`, bearer(key.Key)...).status != http.StatusOK {
			t.Error("the key of an agent does not work")
		}

		beyond := func(cookie string) string { return strings.Replace(cookie, cookieOf(b), cookieOf(elsewhere), 1) }
		here, there, stays := b.stream("/api/stream", ann), elsewhere.stream("/api/stream", beyond(again)), elsewhere.stream("/api/stream", beyond(bob))
		stays.want(t, "ready")
		wantError(t, b.send("GET", "/api/sign-ins", "", bob), http.StatusForbidden, "forbidden", "role")
		var listed struct {
			SignIns []struct{ ID, Name, Role, Issuer, Subject string } `json:"sign_ins"`
		}
		b.decode(b.send("GET", "/api/sign-ins", "", admin), http.StatusOK, &listed)
		if n := len(listed.SignIns); n != 5 || listed.SignIns[0].Name != "Ann Smith" || listed.SignIns[0].Subject != "s-2" || listed.SignIns[0].Issuer != p.URL || listed.SignIns[0].ID != me(ann).KeyID {
			t.Errorf("the sign-ins are %+v", listed)
		}
		wantError(t, b.send("DELETE", "/api/sign-ins/oidc-nobody", "", admin), http.StatusNotFound, "not_found", "signed in")
		if a := b.send("DELETE", "/api/sign-ins/"+listed.SignIns[0].ID, "", admin); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		here.wantEnd(t)
		there.wantEnd(t)
		for _, cookie := range []string{ann, again} {
			wantError(t, b.send("GET", "/api/me", "", cookie), http.StatusUnauthorized, "unauthorized", "not valid")
		}
		b.createSessionOf(bob)
		stays.want(t, "session")
		if a := b.send("POST", "/api/sign-out", "", bob); a.status != http.StatusOK {
			t.Fatal(a.status)
		}
		stays.wantEnd(t)

		var page struct {
			Entries []struct {
				Actor, Action, Role string
				KeyID               string `json:"key_id"`
				Status              int
			}
		}
		b.decode(b.send("GET", "/api/audit?actor=Ada", "", admin), http.StatusOK, &page)
		var lines []string
		for _, e := range page.Entries {
			lines = append(lines, fmt.Sprintf("%s %s %d", e.Role, e.Action, e.Status))
		}
		if want := []string{"admin endSignIns 200", "admin endSignIns 404", "admin createKey 201", "admin addAgent 201", "admin signInAtProvider 303", "admin signInAtProvider 303"}; !slices.Equal(lines, want) {
			t.Errorf("got  %q\nwant %q", lines, want)
		}
	})
}

// TestOIDCPersonWithoutRole checks that a person who has lost the role, and tries to sign in
// again, is signed out everywhere.
func TestOIDCPersonWithoutRole(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	b := startBackend(t, p.settings())
	ann, bob := b.signInAs(p, "s-2", "Ann", "analysts"), b.signInAs(p, "s-3", "Bob", "analysts")
	b.end(b.begin(p, authorization{claims: func(claims map[string]any) { claims["sub"], claims["roles"] = "s-2", nil }}, "/api/oidc/sign-in"))
	wantError(t, b.send("GET", "/api/me", "", ann), http.StatusUnauthorized, "unauthorized", "not valid")
	if a := b.send("GET", "/api/me", "", bob); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestOIDCUpgrade checks that the sign-ins of a database without people stay.
func TestOIDCUpgrade(t *testing.T) {
	eachDatabase(t, func(t *testing.T, env map[string]string) {
		p := newIdentityProvider(t)
		env["DATA_DIR"] = t.TempDir()
		b := startBackend(t, env)
		key := b.createKey("", `{"name":"Ada","role":"admin"}`)
		var tokens []string
		for range 2 {
			tokens = append(tokens, b.send("POST", "/api/sign-in", `{"key":"`+key.Key+`"}`).cookie(cookieOf(b)))
		}
		b.stop()
		db := openDatabase(t, env)
		for _, statement := range []string{
			"DROP INDEX idx_sign_ins_attempt", "ALTER TABLE sign_ins DROP COLUMN attempt", "ALTER TABLE sign_ins DROP COLUMN issuer",
			"ALTER TABLE sign_ins DROP COLUMN subject", "ALTER TABLE sign_ins DROP COLUMN name", "ALTER TABLE sign_ins DROP COLUMN role",
		} {
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		maps.Copy(env, p.settings())
		b = startBackend(t, env)
		b.signInAs(p, "s-1", "Ada", "admins")
		for _, token := range tokens {
			if a := b.send("GET", "/api/me", "", "Cookie: "+cookieOf(b)+"="+token); a.status != http.StatusOK {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
	})
}

// createSessionOf uploads a file with a cookie and returns the session.
func (b *backend) createSessionOf(cookie string) string {
	b.t.Helper()
	body := "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.exe\"\r\n\r\nMZ\r\n--x--\r\n"
	var created struct{ SessionID string }
	b.decode(b.send("POST", "/api/create-session", body, cookie, "Content-Type: multipart/form-data; boundary=x"), http.StatusOK, &created)
	return created.SessionID
}

// createKeyBy creates a key with a cookie.
func (b *backend) createKeyBy(cookie, body string) (key newKey) {
	b.t.Helper()
	b.decode(b.send("POST", "/api/keys", body, cookie), http.StatusCreated, &key)
	return key
}

// TestOIDCProviderIsAway checks that a backend starts while its provider is away, says so
// within the time limit, and finds it later; and that a backend without one has no such route.
func TestOIDCProviderIsAway(t *testing.T) {
	t.Parallel()
	t.Run("discovery", func(t *testing.T) {
		t.Parallel()
		p := newIdentityProvider(t)
		p.isAway = true
		b := startBackend(t, p.settings())
		if a := b.visit("/api/oidc/sign-in?to=/rules"); a.header.Get("Location") != oidcPublic+"/rules#sign-in-error=provider" || len(a.header.Values("Set-Cookie")) > 0 {
			t.Errorf("%d %v", a.status, a.header)
		}
		if out, err := runProgram(t, p.settings(), "doctor"); err == nil || !strings.Contains(out, "fault    sign-in      "+p.URL+" (OIDC_ISSUER): ") {
			t.Errorf("doctor: %v\n%s", err, out)
		}
		p.mu.Lock()
		p.isAway = false
		p.mu.Unlock()
		b.signInAs(p, "s-1", "Ada", "admins")
		if out, _ := runProgram(t, p.settings(), "doctor"); !strings.Contains(out, "ok       sign-in      "+p.URL+" (OIDC_ISSUER) answers") {
			t.Errorf("doctor: %s", out)
		}
	})
	t.Run("token", func(t *testing.T) {
		t.Parallel()
		p := newIdentityProvider(t)
		b := startBackend(t, p.settings())
		a := b.end(b.begin(p, authorization{exchange: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}, "/api/oidc/sign-in"))
		if a.header.Get("Location") != oidcPublic+"/#sign-in-error=provider" || a.cookie(cookieOf(b)) != "" {
			t.Errorf("%d %v", a.status, a.header)
		}
	})
	t.Run("another issuer", func(t *testing.T) {
		t.Parallel()
		p := newIdentityProvider(t)
		settings := p.settings()
		settings["OIDC_ISSUER"] += "/"
		b := startBackend(t, settings)
		if a := b.visit("/api/oidc/sign-in"); a.header.Get("Location") != oidcPublic+"/#sign-in-error=provider" || !strings.Contains(b.log.String(), "did not match the issuer") {
			t.Errorf("%d %v", a.status, a.header)
		}
	})
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		b := startBackend(t, nil)
		for _, path := range []string{"/api/oidc/sign-in", "/api/oidc/callback"} {
			wantError(t, b.visit(path), http.StatusNotFound, "not_found", "OIDC_ISSUER")
		}
		if a := b.send("GET", "/api/sign-in", ""); !bytes.Contains(a.body, []byte(`{"single_sign_on":null}`)) {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestOIDCClients checks how the backend identifies itself at the provider: with its secret
// in the way that the provider announces, and without one by PKCE alone; each code once. It
// asks for the scopes of the settings.
func TestOIDCClients(t *testing.T) {
	t.Parallel()
	for want, tt := range map[string]struct {
		methods []string
		secret  string
	}{
		"basic true, secret true":   {nil, oidcSecret},
		"basic false, secret true":  {[]string{"client_secret_post", "private_key_jwt"}, oidcSecret},
		"basic false, secret false": {[]string{"client_secret_basic", "none"}, ""},
	} {
		p := newIdentityProvider(t)
		p.methods = tt.methods
		settings := p.settings()
		settings["OIDC_CLIENT_SECRET"] = tt.secret
		scope := "openid profile email"
		if tt.secret == "" {
			settings["OIDC_SCOPES"], scope = " groups  profile ", "openid groups profile"
		}
		b := startBackend(t, settings)
		if to, err := url.Parse(b.visit("/api/oidc/sign-in").header.Get("Location")); err != nil || to.Query().Get("scope") != scope {
			t.Errorf("%s does not ask for the scope %q: %v", to, scope, err)
		}
		b.signInAs(p, "s-1", "Ada", "admins")
		b.end(b.begin(p, authorization{exchange: http.NotFound}, "/api/oidc/sign-in"))
		if !slices.Equal(p.clients, []string{want, want}) {
			t.Errorf("got %q, want %q twice", p.clients, want)
		}
		b.stop()
	}
}

// TestOIDCSignInsEndWithTheirProvider checks that sign-ins at a provider end when the
// settings name another one.
func TestOIDCSignInsEndWithTheirProvider(t *testing.T) {
	t.Parallel()
	p, other := newIdentityProvider(t), newIdentityProvider(t)
	settings := p.settings()
	settings["DATA_DIR"] = t.TempDir()
	b := startBackend(t, settings)
	_, token, _ := strings.Cut(b.signInAs(p, "s-1", "Ada", "admins"), "=")
	b.stop()
	for provider, status := range map[*identityProvider]int{p: http.StatusOK, other: http.StatusUnauthorized} {
		settings["OIDC_ISSUER"] = provider.URL
		b := startBackend(t, settings)
		if a := b.send("GET", "/api/me", "", "Cookie: "+cookieOf(b)+"="+token); a.status != status {
			t.Errorf("%d %s, want %d", a.status, a.body, status)
		}
		b.stop()
	}
}

// TestOIDCSettings checks that the program reports all that is missing, and does not start.
func TestOIDCSettings(t *testing.T) {
	t.Parallel()
	out, err := runProgram(t, map[string]string{"OIDC_ISSUER": "https://login.test", "OIDC_ROLES": "*=agent"})
	if out += fmt.Sprint(err); err == nil || !strings.Contains(out, "OIDC_CLIENT_ID: ") || !strings.Contains(out, "OIDC_ROLES: ") || !strings.Contains(out, "PUBLIC_URL: ") || strings.Contains(out, "listening") {
		t.Errorf("%v: %s", err, out)
	}
}
