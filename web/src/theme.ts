// How Mantine's components look here: the colours and sizes of styles.css, so that theirs and ours are one page.
// The styles of the components that are used, in the order in which one stands on another.
import "@mantine/core/styles/baseline.layer.css";
import "@mantine/core/styles/default-css-variables.layer.css";
import "@mantine/core/styles/global.layer.css";
import "@mantine/core/styles/UnstyledButton.layer.css";
import "@mantine/core/styles/VisuallyHidden.layer.css";
import "@mantine/core/styles/Group.layer.css";
import "@mantine/core/styles/Paper.layer.css";
import "@mantine/core/styles/CloseButton.layer.css";
import "@mantine/core/styles/Overlay.layer.css";
import "@mantine/core/styles/ModalBase.layer.css";
import "@mantine/core/styles/Modal.layer.css";
import "@mantine/core/styles/Input.layer.css";
import "@mantine/core/styles/InlineInput.layer.css";
import "@mantine/core/styles/Checkbox.layer.css";
import "@mantine/core/styles/FloatingIndicator.layer.css";
import "@mantine/core/styles/SegmentedControl.layer.css";
import "@mantine/core/styles/Slider.layer.css";
import "@mantine/core/styles/Burger.layer.css";
import "@mantine/core/styles/AppShell.layer.css";
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
