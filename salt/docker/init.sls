# A Docker engine, installed and running. Whoever needs one says `require: - sls: docker`, so there is
# always at least one state here. Nothing in this file restarts an engine that runs.
{%- if not salt['pillar.get']('docker:managed', true) %}

docker-engine:
  test.nop:
    - name: the engine is not managed here (docker:managed is False)

{#- Only here: what follows costs a highstate that leaves the engine alone a twentieth of its time. #}
{%- else %}
{%- from tpldir ~ '/map.jinja' import docker with context %}
{%- set cold = 'docker_engine.ping' not in salt %}
{%- if docker.problem %}

docker-engine:
{%-   if grains["saltversioninfo"][0] >= 3007 %}
  test.configurable_test_state:
    - name: docker
    - result: False
    - changes: False
    - allow_test_mode_failure: True
{%-   else %}
  test.fail_without_changes:
    {#- Under test=True this function drops the comment. #}
    - name: {{ (docker.problem if opts.get("test") else "docker") | tojson }}
{%-   endif %}
    - comment: {{ docker.problem | tojson }}

{%- else %}
{%-   if docker.provider == 'docker-ce' %}

docker-prerequisites:
  pkg.installed:
    - name: ca-certificates

docker-keyring:
  file.managed:
    - name: {{ docker.keyring }}
    - source: {{ docker.key }}
    - source_hash: sha256={{ docker.repo.key_sha256 }}
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: True
    - dir_mode: '0755'

docker-repository:
  file.managed:
    - name: /etc/apt/sources.list.d/docker.list
    - contents: deb [arch={{ grains['osarch'] }} signed-by={{ docker.keyring }}] {{ docker.suite }} stable
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - pkg: docker-prerequisites
      - file: docker-keyring
{%-   endif %}

docker-packages:
  pkg.installed:
    - pkgs: {{ docker.packages | json }}
    - install_recommends: False
    {#- Not `onchanges` of the repository: this refreshes whenever a package is missing, and only then. #}
    - refresh: True
{%-   if docker.provider == 'docker-ce' %}
    - require:
      - file: docker-repository
{%-   endif %}
{%-   if docker.has_init %}

docker-engine:
  service.running:
    - name: docker
    - enable: True
    - require:
      - pkg: docker-packages
{%-   else %}
{%-     if cold %}

docker-modules:
  saltutil.sync_all:
    - refresh: True
    - reload_modules: True
{%-     endif %}

docker-engine:
{%-     if cold and opts.get('test') %}
  {#- A state function that is only about to be synced cannot be asked what it would do. #}
  test.configurable_test_state:
    - name: docker
    - changes: True
    - comment: docker_engine is not synced to this minion yet; it would be, and would then start the engine
{%-     else %}
  docker_engine.running:
    - name: docker
{%-     endif %}
    - require:
      - pkg: docker-packages
{%-     if cold %}
      - saltutil: docker-modules
{%-     endif %}
{%-   endif %}
{%- endif %}
{%- endif %}
