// Starts the console: one query client, one router, one look.
import { MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { router } from "./router";
import { SessionProvider } from "./session/session";
import "./styles.css";
import "./frame.css";
import { theme, variables } from "./theme";
import { WalletProvider } from "./wallet/provider";

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // The poll is the retry: a failure shows at once, and the next beat may mend it.
      retry: false,
      // A console on loopback works without a network: what the browser thinks of being online does not matter.
      networkMode: "always",
    },
  },
});

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <MantineProvider theme={theme} cssVariablesResolver={variables} defaultColorScheme="auto">
      <QueryClientProvider client={queries}>
        <WalletProvider>
          <SessionProvider>
            <RouterProvider router={router} />
          </SessionProvider>
        </WalletProvider>
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
