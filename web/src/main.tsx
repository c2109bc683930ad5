import "./app.css";
import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Router } from "wouter";
import { basePath } from "./api/base";
import { newQueryClient } from "./api/queries";
import { App } from "./app";
import { ToastProvider } from "./components/ui/toast";
import { useRawSearch } from "./hooks/search";
import { SettingsProvider } from "./hooks/settings";
import { ShortcutProvider } from "./hooks/shortcuts";

const root = document.getElementById("root");
if (!root) throw new Error("the page has no element for the dashboard");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={newQueryClient()}>
      <SettingsProvider>
        <ShortcutProvider>
          <ToastProvider>
            <Router base={basePath} searchHook={useRawSearch}>
              <App />
            </Router>
          </ToastProvider>
        </ShortcutProvider>
      </SettingsProvider>
    </QueryClientProvider>
  </StrictMode>,
);
