// Pan and zoom of an SVG by its viewBox: drag, wheel, pinch, + - 0 keys.

export class Viewport {
  constructor(picture, box) {
    this.picture = picture;
    this.home = box;
    this.pointers = new Map();
    this.fit();
    picture.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(event.deltaY * 0.0015), this.at(event));
    }, { passive: false });
    picture.addEventListener("pointerdown", (event) => {
      this.pointers.set(event.pointerId, event);
    });
    picture.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
      picture.addEventListener(name, (event) => {
        this.pointers.delete(event.pointerId);
        picture.classList.remove("moving");
      });
    }
    picture.addEventListener("dblclick", () => this.fit());
  }

  fit() {
    this.box = { ...this.home };
    this.show();
  }

  show() {
    const { x, y, w, h } = this.box;
    this.picture.setAttribute("viewBox", `${x} ${y} ${w} ${h}`);
  }

  // Place of an event in the drawing.
  at(event) {
    const matrix = this.picture.getScreenCTM();
    if (!matrix) return null;
    return new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
  }

  zoom(factor, centre = null) {
    const { x, y, w, h } = this.box;
    const width = Math.min(Math.max(w * factor, 60), this.home.w * 4);
    const f = width / w;
    const c = centre ?? { x: x + w / 2, y: y + h / 2 };
    this.box = { x: c.x - (c.x - x) * f, y: c.y - (c.y - y) * f, w: width, h: h * f };
    this.show();
  }

  shift(dx, dy) {
    this.box.x += dx;
    this.box.y += dy;
    this.show();
  }

  // Bring a place into view.
  reveal(px, py) {
    const { x, y, w, h } = this.box;
    if (px < x || px > x + w) this.shift(px - x - w / 2, 0);
    if (py < y || py > y + h) this.shift(0, py - y - h / 2);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const others = [...this.pointers.values()].filter((p) => p.pointerId !== event.pointerId);
    if (others.length) {
      const gap = (p) => Math.hypot(p.clientX - others[0].clientX, p.clientY - others[0].clientY) || 1;
      this.zoom(gap(before) / gap(event), this.at(others[0]));
    } else {
      const a = this.at(before), b = this.at(event);
      if (a && b) this.shift(a.x - b.x, a.y - b.y);
      this.picture.classList.add("moving");
    }
    this.pointers.set(event.pointerId, event);
  }
}
