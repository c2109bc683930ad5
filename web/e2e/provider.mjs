// An OpenID Connect provider for tests: node provider.mjs PORT REDIRECT_URL. Anyone can sign
// in with any password. The roles are by name.
import { Provider } from "oidc-provider";

const [port, redirectURL] = process.argv.slice(2);
const roles = { ada: ["staff", "admins"], vic: ["staff"] };

const provider = new Provider(`http://localhost:${port}`, {
  clients: [{ client_id: "ospulse", client_secret: "secret-of-the-test", redirect_uris: [redirectURL] }],
  claims: { openid: ["sub", "realm_access"], profile: ["preferred_username"], email: ["email"] },
  conformIdTokenClaims: false, // the ID token has all claims
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, realm_access: { roles: roles[id] ?? [] } }),
  }),
  cookies: { keys: ["key of the test"] },
});
provider.listen(Number(port), "localhost");
