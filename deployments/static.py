"""``serve build deployments.static:application``: an Application object, which ``serve build`` asks for."""

from deployments.main import AppArgs, build

application = build(AppArgs())
