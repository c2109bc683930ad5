import { useEffect } from "react";
import { Link, Route, Switch } from "wouter";
import { AppHeader } from "./components/app-header";
import { CatchErrors } from "./components/catch-errors";
import { ConnectionBanner } from "./components/connection-banner";
import { defer } from "./components/defer";
import { ForRole } from "./components/for-role";
import { SignInGate } from "./components/sign-in/gate";
import { EmptyState } from "./components/ui/state";
import { DropZone } from "./components/upload/drop-zone";
import { UploadList } from "./components/upload/upload-list";
import { ConnectionProvider } from "./hooks/connection";
import { ArrivalProvider } from "./hooks/focus";
import { UploadProvider } from "./hooks/uploads";
import { SessionsPage } from "./pages/sessions-page";

const SessionPage = defer(() => import("./pages/session-page"));
const FindingsPage = defer(() => import("./pages/findings-page"));
const RulesPage = defer(() => import("./pages/rules-page"));
const AgentsPage = defer(() => import("./pages/agents-page"));
const KeysPage = defer(() => import("./pages/keys-page"));
const AuditPage = defer(() => import("./pages/audit-page"));
const RulePage = defer(() => import("./pages/rule-page"));

export function App() {
  useEffect(() => {
    // Preload the most likely next pages when the browser is idle.
    const timer = setTimeout(() => void SessionPage.load().catch(() => {}), 500);
    return () => clearTimeout(timer);
  }, []);
  return (
    <SignInGate>
      <ConnectionProvider>
        <UploadProvider>
          <div className="flex h-full min-w-0 flex-col">
            <a
              href="#main"
              className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:bg-raised focus:p-2"
            >
              Skip to the content
            </a>
            <AppHeader />
            <ConnectionBanner />
            <main id="main" className="flex min-h-0 flex-1 flex-col">
              <CatchErrors>
                <ArrivalProvider>
                  <Switch>
                    <Route path="/">
                      <SessionsPage />
                    </Route>
                    <Route path="/sessions/:sessionId/:view?">
                      {(params) => <SessionPage key={params.sessionId} {...params} />}
                    </Route>
                    <Route path="/findings">
                      <FindingsPage />
                    </Route>
                    <Route path="/rules">
                      <RulesPage />
                    </Route>
                    <Route path="/rules/rule">
                      <RulePage />
                    </Route>
                    <Route path="/rules/new">
                      <RulePage />
                    </Route>
                    <Route path="/agents">
                      <AgentsPage />
                    </Route>
                    <Route path="/keys">
                      <KeysPage />
                    </Route>
                    <Route path="/audit">
                      <AuditPage />
                    </Route>
                    <Route>
                      <EmptyState title="Page not found">
                        <Link href="/" className="text-accent underline">
                          Go to the sessions
                        </Link>
                      </EmptyState>
                    </Route>
                  </Switch>
                </ArrivalProvider>
              </CatchErrors>
            </main>
            <UploadList />
            <ForRole least="analyst">
              <DropZone />
            </ForRole>
          </div>
        </UploadProvider>
      </ConnectionProvider>
    </SignInGate>
  );
}
