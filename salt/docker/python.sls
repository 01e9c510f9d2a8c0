{#- The Docker SDK for the Python that runs Salt: asked for each time, so that it comes back after an upgrade of Salt. -#}
{%- from tpldir ~ "/map.jinja" import docker, idle with context %}
{%- if docker.faults or not docker.managed %}
{{ idle("docker-python") }}

{%- elif "docker_engine.sdk" in salt and salt["docker_engine.sdk"]() %}

docker-python:
  test.nop:
    - name: the Docker SDK is there

{%- elif docker.sdk %}

docker-python:
  pkg.installed:
    - name: {{ docker.sdk }}
    - reload_modules: True

{%- else %}
{%-   from tpldir ~ "/interpreter.jinja" import into_salt with context %}
{{ into_salt("docker-python", ["docker==7.2.0"], docker.python_find_links) }}
{%- endif %}
