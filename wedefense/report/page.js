// A click on the head of a column sorts the rows of its table by it, a second click the other way round.
// Rows below a rule, such as the mean, stay where they are.
const shown = cell => cell.firstChild ? cell.firstChild.textContent.trim() : "";
const order = (a, b) => {
  const [x, y] = [a, b].map(text => parseFloat(text.replace("\u2212", "-").replace(/,/g, "")));
  if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
  return isNaN(x) ? a.localeCompare(b, "en", {numeric: true}) : x - y || a.localeCompare(b);
};
for (const table of document.querySelectorAll("table.sorted")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.textContent) return;
    const button = document.createElement("button");
    button.type = "button";
    button.title = "sort by " + head.textContent;
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => order(shown(a.cells[column]), shown(b.cells[column])) * (down ? -1 : 1));
      table.tBodies[0].append(...rows);
    });
  });
}

// A line runs over a timeline while its recording plays; a click into the picture plays from there.
for (const figure of document.querySelectorAll("figure.timeline")) {
  const [sound, picture, line] = ["audio", "div", "i"].map(name => figure.querySelector(name));
  const {left, right, seconds} = Object.fromEntries(Object.entries(figure.dataset).map(([key, text]) => [key, +text]));
  const show = () => {
    line.hidden = false;
    line.style.left = 100 * (left + (right - left) * Math.min(sound.currentTime / seconds, 1)) + "%";
    if (!sound.paused) requestAnimationFrame(show);
  };
  sound.addEventListener("play", show);
  sound.addEventListener("seeked", show);
  picture.addEventListener("click", event => {
    const box = picture.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width - left) / (right - left);
    if (share < 0 || share > 1) return;
    sound.currentTime = share * seconds;
    sound.play();
  });
}
