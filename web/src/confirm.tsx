// A change that cannot be undone: a button, and a dialog that says what will happen before it does.
import { useState } from "react";
import { sorry } from "./api";
import { Dialog } from "./dialog";

interface Props {
  /** For tests: `ask-{name}`, `confirm-{name}`. */
  name: string;
  button: string;
  title: string;
  /** What will happen, in sentences. */
  what: string[];
  yes: string;
  /** Why it cannot be done now. */
  disabled?: string | null;
  act: () => Promise<unknown>;
  done: () => void;
}

export function Confirm({ name, button, title, what, yes, disabled = null, act, done }: Props) {
  const [open, setOpen] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const show = (does: boolean) => {
    setProblem(null);
    setOpen(does);
  };
  const go = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await act();
      setOpen(false);
      done();
    } catch (error) {
      setProblem(sorry(error));
    }
    setBusy(false);
  };
  return (
    <>
      <button type="button" className="button" data-testid={`ask-${name}`} disabled={disabled !== null} title={disabled ?? undefined} onClick={() => show(true)}>
        {button}
      </button>
      <Dialog title={title} opened={open} close={() => show(false)}>
        <div className="review">
          <ul>
            {what.map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
          {problem && <div className="note bad" role="alert" data-testid="problem">{problem}</div>}
          <div className="foot">
            <button type="button" className="button" data-autofocus onClick={() => show(false)}>Leave it</button>
            <button type="button" className="button main" data-testid={`confirm-${name}`} disabled={busy} onClick={() => void go()}>{busy ? "Asking the node" : yes}</button>
          </div>
        </div>
      </Dialog>
    </>
  );
}
