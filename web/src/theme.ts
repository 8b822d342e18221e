// How Mantine's components look here: the colours and sizes of styles.css, so that theirs and ours are one page.
import { createTheme, type CSSVariablesResolver, type MantineColorsTuple } from "@mantine/core";

const water: MantineColorsTuple = ["#e1f0f5", "#c3e1eb", "#96cbdb", "#66b4cb", "#3f9fbb", "#1f8aa9", "#0b6b87", "#095a72", "#074a5d", "#053848"];

export const theme = createTheme({
  colors: { water },
  primaryColor: "water",
  primaryShade: { light: 6, dark: 6 },
  defaultRadius: 6,
  cursorType: "pointer",
  focusRing: "auto",
  respectReducedMotion: true,
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif',
  fontSizes: { xs: "11.5px", sm: "13px", md: "13px", lg: "15px", xl: "17px" },
  headings: { fontWeight: "650" },
  components: {
    TextInput: { defaultProps: { size: "xs" } },
    NativeSelect: { defaultProps: { size: "xs" } },
    Checkbox: { defaultProps: { size: "xs" } },
  },
});

const ours = { "--mantine-color-body": "var(--panel)", "--mantine-color-text": "var(--ink)", "--mantine-color-dimmed": "var(--dim)", "--mantine-color-default": "var(--panel)", "--mantine-color-default-border": "var(--line)", "--mantine-color-default-hover": "var(--soft)", "--mantine-color-placeholder": "var(--dim)", "--mantine-color-error": "var(--bad)", "--mantine-color-anchor": "var(--water)" };

export const variables: CSSVariablesResolver = () => ({ variables: {}, light: ours, dark: ours });
