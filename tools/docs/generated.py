"""All pages that are made and not written."""

from tools.docs import command_pages, config_pages, credit_pages, notebooks, python_pages


def generated() -> dict[str, str]:
    """Path in the site -> Markdown."""
    return {**config_pages.pages(), **python_pages.pages(), **notebooks.pages(), "commands.md": command_pages.page(),
            "licences.md": credit_pages.licences(), "citations.md": credit_pages.citations()}
