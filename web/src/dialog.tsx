// A dialog over the page: named by its title, closed by Escape, its button or a click beside it.
import { Modal } from "@mantine/core";
import type { ReactNode } from "react";

export function Dialog({ title, opened, close, children }: { title: string; opened: boolean; close: () => void; children: ReactNode }) {
  return (
    <Modal.Root opened={opened} onClose={close} centered transitionProps={{ duration: 0 }}>
      <Modal.Overlay />
      <Modal.Content aria-label={title}>
        <Modal.Body className="dialog">
          <div className="dialog-head">
            <h2>{title}</h2>
            <button type="button" className="button" onClick={close}>
              Close
            </button>
          </div>
          {children}
        </Modal.Body>
      </Modal.Content>
    </Modal.Root>
  );
}
